/*
 * The words of a config's text, as libconfig 1.5 divides it. libconfig's own reading cannot be
 * asked what a number looked like or where a text went wrong; this can. It allocates nothing.
 */
#ifndef ECHOD_CORE_CONFIG_LEXER_H
#define ECHOD_CORE_CONFIG_LEXER_H

#include <stdbool.h>
#include <stddef.h>

enum token_kind {
	TOKEN_END,
	TOKEN_NAME, /* true and false, too */
	TOKEN_INTEGER,
	TOKEN_FLOAT,
	TOKEN_STRING,  /* what stands between the quotes */
	TOKEN_INCLUDE, /* the path between the quotes */
	TOKEN_MARK,    /* one of = : , ; { } [ ] ( ) */
	TOKEN_OTHER,   /* one byte that has no place outside of strings */
	TOKEN_OPEN,    /* a string or a comment without an end */
};

struct token {
	enum token_kind kind;
	const char *text; /* in the lexer's text */
	size_t length;
	int line; /* where it begins */
};

struct lexer {
	const char *at;
	int line;
	bool line_start; /* nothing but blanks before `at` on its line */
};

static inline struct lexer lexer_of(const char *text)
{
	return (struct lexer){ .at = text, .line = 1, .line_start = true };
}

struct token lexer_next(struct lexer *lexer);

static inline bool token_is(const struct token *token, char mark)
{
	return token->kind == TOKEN_MARK && *token->text == mark;
}

#endif
