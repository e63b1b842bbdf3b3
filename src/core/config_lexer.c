/*
 * Cuts by the rules of libconfig's scanner, oddities included: it knows no sign before a hex
 * number.
 */
#include "core/config_lexer.h"

#include <ctype.h>
#include <string.h>

static const char digits[] = "0123456789";
static const char hex_digits[] = "0123456789abcdefABCDEF";
static const char name_letters[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_*";

/* Counts the lines up to there; the caller sets line_start. */
static void move_to(struct lexer *lexer, const char *to)
{
	for (; lexer->at < to; lexer->at++)
		lexer->line += *lexer->at == '\n';
}

/* Skips blanks and comments; false at a comment that has no end. */
static bool skip_blank(struct lexer *lexer)
{
	for (;; lexer->at++) {
		switch (*lexer->at) {
		case '\n':
			lexer->line++;
			lexer->line_start = true;
			break;
		case '\r':
		case '\f':
			lexer->line_start = false;
			break;
		case ' ':
		case '\t':
			break;
		case '/':
			if (lexer->at[1] == '*') {
				const char *end = strstr(lexer->at + 2, "*/");

				if (end == NULL)
					return false;
				move_to(lexer, end + 1);
				lexer->line_start = false;
				break;
			}
			if (lexer->at[1] != '/')
				return true;
			/* fall through */
		case '#':
			lexer->at += strcspn(lexer->at, "\n") - 1;
			break;
		default:
			return true;
		}
	}
}

/* A string whose text begins after `opening` bytes. */
static struct token cut_string(struct lexer *lexer, enum token_kind kind, size_t opening)
{
	const char *end = lexer->at + opening;
	struct token token = { kind, end, 0, lexer->line };

	for (; *end != '"' && *end != '\0'; end++)
		if (*end == '\\' && (end[1] == '"' || end[1] == '\\'))
			end++;
		else if (*end == '\n' && kind == TOKEN_INCLUDE)
			break;
	if (*end != '"') {
		token = (struct token){ TOKEN_OPEN, lexer->at, strlen(lexer->at), lexer->line };
		lexer->at += token.length;
	} else {
		token.length = (size_t)(end - token.text);
		move_to(lexer, end + 1);
	}
	lexer->line_start = false;
	return token;
}

static size_t exponent_length(const char *at)
{
	size_t sign, count;

	if (*at != 'e' && *at != 'E')
		return 0;
	sign = at[1] == '+' || at[1] == '-' ? 1 : 0;
	count = strspn(at + 1 + sign, digits);
	return count == 0 ? 0 : 1 + sign + count;
}

static size_t long_length(const char *at)
{
	return *at != 'L' ? 0 : at[1] == 'L' ? 2 : 1;
}

/* The length of the number that the text begins with, or 0. */
static size_t number_length(const char *at, enum token_kind *kind)
{
	size_t sign = *at == '+' || *at == '-' ? 1 : 0;
	size_t length = sign + strspn(at + sign, digits), exponent;

	*kind = TOKEN_INTEGER;
	if (at[0] == '0' && (at[1] == 'x' || at[1] == 'X') && isxdigit((unsigned char)at[2])) {
		length = 2 + strspn(at + 2, hex_digits);
		return length + long_length(at + length);
	}
	if (at[length] == '.') {
		*kind = TOKEN_FLOAT;
		length += 1 + strspn(at + length + 1, digits);
		return length + exponent_length(at + length);
	}
	if (length == sign)
		return 0;
	exponent = exponent_length(at + length);
	if (exponent > 0)
		*kind = TOKEN_FLOAT;
	return length + (exponent > 0 ? exponent : long_length(at + length));
}

struct token lexer_next(struct lexer *lexer)
{
	bool is_closed = true;
	struct token token = { TOKEN_OTHER, NULL, 1, 0 };
	const char *at;
	size_t blanks;

	lexer->at += strspn(lexer->at, " \t");
	if (*lexer->at != '\0' && strchr("\n\r\f#/", *lexer->at) != NULL)
		is_closed = skip_blank(lexer);
	token.text = at = lexer->at;
	token.line = lexer->line;
	if (!is_closed) {
		token.kind = TOKEN_OPEN;
		token.length = strlen(at);
	} else if (*at == '\0') {
		token.kind = TOKEN_END;
		token.length = 0;
	} else if (*at == '"') {
		return cut_string(lexer, TOKEN_STRING, 1);
	} else if (lexer->line_start && strncmp(at, "@include", 8) == 0 &&
		   (blanks = strspn(at + 8, " \t")) > 0 && at[8 + blanks] == '"') {
		return cut_string(lexer, TOKEN_INCLUDE, 8 + blanks + 1);
	} else if (strchr("=:,;{}[]()", *at) != NULL) {
		token.kind = TOKEN_MARK;
	} else if (isalpha((unsigned char)*at) || *at == '*') {
		token.kind = TOKEN_NAME;
		token.length = strspn(at, name_letters);
	} else if ((token.length = number_length(at, &token.kind)) == 0) {
		token.kind = TOKEN_OTHER;
		token.length = 1;
	}
	lexer->at += token.length;
	lexer->line_start = false;
	return token;
}
