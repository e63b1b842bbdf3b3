/*
 * Walks the text as the grammar would (key, sign, value) up to the line where libconfig gave up,
 * and explains the first token that does not fit.
 */
#include "core/config_hint.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "core/config_lexer.h"
#include "core/log.h"

#define DEPTH_MAX 32

enum due { DUE_KEY, DUE_SIGN, DUE_VALUE, DUE_COMMA };

struct walk {
	enum due due;
	size_t depth;
	struct token open[DEPTH_MAX]; /* brackets that are not closed */
	struct token last;
	char *to;
	size_t size;
};

/* What somebody meant as one word: up to a blank or the end of the value. */
static const char *bare_word(const struct token *token, char *to, size_t size)
{
	return log_escape(to, size, token->text, strcspn(token->text, " \t\r\n;,])}\""));
}

static bool is_word(const struct token *token, const char *word)
{
	return token->kind == TOKEN_NAME && token->length == strlen(word) &&
	       strncasecmp(token->text, word, token->length) == 0;
}

static bool is_whole_value(const struct token *token)
{
	size_t word = strcspn(token->text, " \t\r\n;,])}#");

	if (token->kind == TOKEN_STRING)
		return true;
	return token->length == word &&
	       (token->kind == TOKEN_INTEGER || token->kind == TOKEN_FLOAT ||
		   is_word(token, "true") || is_word(token, "false"));
}

static void advise_value(struct walk *walk, const struct token *token)
{
	char word[80];

	if (is_word(token, "yes") || is_word(token, "on"))
		snprintf(
		    walk->to, walk->size, "write true for %.*s", (int)token->length, token->text);
	else if (is_word(token, "no") || is_word(token, "off"))
		snprintf(
		    walk->to, walk->size, "write false for %.*s", (int)token->length, token->text);
	else if ((token_is(token, ']') || token_is(token, ')')) && token_is(&walk->last, ','))
		snprintf(walk->to, walk->size, "remove the comma before the %c", *token->text);
	else if (*token->text == '\'')
		snprintf(walk->to, walk->size, "a string needs double quotes");
	else if (token->kind == TOKEN_MARK && *token->text != ':')
		snprintf(walk->to, walk->size, "a value is missing before the %c", *token->text);
	else if (token->kind != TOKEN_END && token->kind != TOKEN_OPEN)
		snprintf(walk->to, walk->size, "put %s in double quotes",
		    bare_word(token, word, sizeof(word)));
}

static enum due due_inside(const struct walk *walk)
{
	bool in_list = walk->depth > 0 && !token_is(&walk->open[walk->depth - 1], '{');

	return in_list ? DUE_COMMA : DUE_KEY;
}

/* Whether the token is one that may stand here. */
static bool take(struct walk *walk, const struct token *token)
{
	bool is_mark = token->kind == TOKEN_MARK;

	if (token->kind == TOKEN_INCLUDE)
		return true;
	if (walk->due == DUE_VALUE && is_mark && strchr("{[(", *token->text) != NULL &&
	    walk->depth < DEPTH_MAX) {
		walk->open[walk->depth++] = *token;
		walk->due = *token->text == '{' ? DUE_KEY : DUE_VALUE;
		return true;
	}
	if (is_mark && strchr("}])", *token->text) != NULL && walk->depth > 0 &&
	    walk->due != DUE_SIGN && (walk->due != DUE_VALUE || !token_is(&walk->last, ','))) {
		walk->depth--;
		walk->due = due_inside(walk);
		return true;
	}
	switch (walk->due) {
	case DUE_KEY:
		if (token->kind == TOKEN_NAME)
			walk->due = DUE_SIGN;
		return token->kind == TOKEN_NAME || token_is(token, ';') || token_is(token, ',') ||
		       (token->kind == TOKEN_STRING && walk->last.kind == TOKEN_STRING);
	case DUE_SIGN:
		walk->due = DUE_VALUE;
		return token_is(token, '=') || token_is(token, ':');
	case DUE_VALUE:
		walk->due = due_inside(walk);
		return is_whole_value(token);
	case DUE_COMMA:
		if (token_is(token, ','))
			walk->due = DUE_VALUE;
		return token_is(token, ',') || token->kind == TOKEN_STRING;
	}
	return false;
}

/* Says what to do about a token that was not due. */
static void advise(struct walk *walk, enum due due, const struct token *token)
{
	const struct token *open = walk->depth > 0 ? &walk->open[walk->depth - 1] : NULL;
	char word[80];

	if (token->kind == TOKEN_OPEN)
		snprintf(walk->to, walk->size, "the %s of line %d has no end",
		    *token->text == '/' ? "comment" : "string", token->line);
	else if (token->kind == TOKEN_END && open != NULL)
		snprintf(walk->to, walk->size, "the %c of line %d is not closed", *open->text,
		    open->line);
	else if (token->kind == TOKEN_END)
		return;
	else if (due == DUE_VALUE)
		advise_value(walk, token);
	else if (due == DUE_SIGN)
		snprintf(walk->to, walk->size, "write = after %.*s", (int)walk->last.length,
		    walk->last.text);
	else if (due == DUE_COMMA)
		snprintf(walk->to, walk->size, "write a comma between two values");
	else if (token_is(token, '}'))
		snprintf(walk->to, walk->size, "there is no { for this }");
	else if (*token->text == '@')
		snprintf(walk->to, walk->size,
		    "@include begins a line and has its path in double quotes");
	else if (token->kind == TOKEN_INTEGER || token->kind == TOKEN_OTHER)
		snprintf(walk->to, walk->size, "a name begins with a letter: %s",
		    bare_word(token, word, sizeof(word)));
}

void config_hint(const char *text, int line, char *to, size_t size)
{
	struct lexer lexer = lexer_of(text);
	struct walk walk = { .to = to, .size = size };

	*to = '\0';
	for (;;) {
		struct token token = lexer_next(&lexer);
		enum due due = walk.due;

		if (token.kind == TOKEN_END || token.kind == TOKEN_OPEN || !take(&walk, &token)) {
			if (token.line <= line)
				advise(&walk, due, &token);
			return;
		}
		walk.last = token;
	}
}
