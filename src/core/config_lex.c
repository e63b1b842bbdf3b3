/*
 * Cuts by the rules of libconfig's scanner, oddities included: it knows no sign before a hex
 * number.
 */
#include "core/config_lex.h"

#include <ctype.h>
#include <string.h>

static const char digits[] = "0123456789";
static const char hex_digits[] = "0123456789abcdefABCDEF";
static const char name_letters[] =
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_*";

static struct token cut(struct lexer *lexer, enum token_kind kind, size_t length)
{
	struct token token = { kind, lexer->at, length, lexer->line };

	lexer->at += length;
	lexer->line_start = false;
	return token;
}

static void step_over(struct lexer *lexer, const char *to)
{
	for (; lexer->at < to; lexer->at++)
		if (*lexer->at == '\n') {
			lexer->line++;
			lexer->line_start = true;
		} else if (*lexer->at != ' ' && *lexer->at != '\t') {
			lexer->line_start = false;
		}
}

/* Skips blanks and comments; false at a comment that has no end. */
static bool skip_blank(struct lexer *lexer)
{
	for (;;) {
		const char *at = lexer->at;

		if (*at == '#' || strncmp(at, "//", 2) == 0) {
			step_over(lexer, at + strcspn(at, "\n"));
		} else if (strncmp(at, "/*", 2) == 0) {
			const char *end = strstr(at + 2, "*/");

			if (end == NULL)
				return false;
			step_over(lexer, end + 2);
		} else if (*at != '\0' && strchr(" \t\n\r\f", *at) != NULL) {
			step_over(lexer, at + 1);
		} else {
			return true;
		}
	}
}

/* The length of the path's opening `@include "`, or 0. */
static size_t include_length(const struct lexer *lexer)
{
	const char *at = lexer->at;
	size_t blanks;

	if (!lexer->line_start || strncmp(at, "@include", 8) != 0)
		return 0;
	blanks = strspn(at + 8, " \t");
	return blanks > 0 && at[8 + blanks] == '"' ? 8 + blanks + 1 : 0;
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
	if (*end != '"')
		return cut(lexer, TOKEN_OPEN, strlen(lexer->at));
	token.length = (size_t)(end - token.text);
	step_over(lexer, end + 1);
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
	enum token_kind number;
	size_t length;

	if (!skip_blank(lexer))
		return cut(lexer, TOKEN_OPEN, strlen(lexer->at));
	if (*lexer->at == '\0')
		return cut(lexer, TOKEN_END, 0);
	if (*lexer->at == '"')
		return cut_string(lexer, TOKEN_STRING, 1);
	if ((length = include_length(lexer)) > 0)
		return cut_string(lexer, TOKEN_INCLUDE, length);
	if (strchr("=:,;{}[]()", *lexer->at) != NULL)
		return cut(lexer, TOKEN_MARK, 1);
	if ((length = number_length(lexer->at, &number)) > 0)
		return cut(lexer, number, length);
	if (isalpha((unsigned char)*lexer->at) || *lexer->at == '*')
		return cut(lexer, TOKEN_NAME, strspn(lexer->at, name_letters));
	return cut(lexer, TOKEN_OTHER, 1);
}
