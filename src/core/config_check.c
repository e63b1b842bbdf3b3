/*
 * libconfig wraps an integer that does not fit, cuts a string at an escaped NUL, takes a comment
 * without an end for one, and exits the process when an include is a directory: all of it is
 * looked for here.
 */
#include "core/config_check.h"

#include <ctype.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/config.h"
#include "core/config_lexer.h"
#include "core/config_text.h"
#include "core/error.h"
#include "core/path.h"

#define INCLUDE_DEPTH_MAX 10 /* libconfig's own limit, which it reports */

struct check {
	struct config *config;
	const char *directory;
	struct strings *errors;
	bool parsable;     /* for all that we can see */
	struct token name; /* of the setting that is being read; no text before the first */
	struct token last; /* the one before */
};

/* Whether libconfig would read the number as it is written; it wraps what its types can't hold. */
static bool integer_fits(const struct token *token, bool as_long)
{
	bool hex = token->length > 1 && (token->text[1] | 0x20) == 'x';
	long long max = as_long ? LLONG_MAX : INT_MAX, min = as_long ? LLONG_MIN : INT_MIN;

	/* What follows the digits in the text is no digit: strtoll stops where the token does. */
	errno = 0;
	if (hex)
		return strtoull(token->text, NULL, 16) <= (unsigned long long)max && errno == 0;
	long long value = strtoll(token->text, NULL, 10);

	return errno == 0 && value >= min && value <= max;
}

static void check_integer(
    struct check *check, const struct option_origin *where, const struct token *token)
{
	const char *digits = token->text + (*token->text == '+' || *token->text == '-');
	bool is_long = token->text[token->length - 1] == 'L';
	const char *name = check->name.text;
	int name_length = (int)check->name.length;
	int length = token->length > 60 ? 60 : (int)token->length;

	/* libconfig 1.5 takes 010 for ten, 1.7 for eight. */
	if (digits[0] == '0' && isdigit((unsigned char)digits[1])) {
		errors_add(check->errors, where,
		    "%.*s: expected an integer without a 0 before it, or a string such as "
		    "\"0660\" for a mode, got %.*s",
		    name_length, name, length, token->text);
	} else if (integer_fits(token, is_long)) {
		return;
	} else if (integer_fits(token, true)) {
		errors_add(check->errors, where,
		    "%.*s: expected an integer of 32 bits, one of 64 such as %.*sL, or a string "
		    "such as \"3G\", got %.*s",
		    name_length, name, length, token->text, length, token->text);
	} else {
		errors_add(check->errors, where,
		    "%.*s: expected an integer of 64 bits at most, got %.*s", name_length, name,
		    length, token->text);
		check->parsable = false; /* by libconfig 1.7 */
	}
}

/* libconfig cuts a string at an escaped NUL without a word. */
static void check_string(
    struct check *check, const struct option_origin *where, const struct token *token)
{
	for (const char *at = token->text; at < token->text + token->length; at++)
		if (*at == '\\' && (strncasecmp(at + 1, "x00", 3) == 0)) {
			errors_add(check->errors, where, "a string can't hold \\x00");
			return;
		} else if (*at == '\\') {
			at++;
		}
}

static void check_file(
    struct check *check, const char *file, const char *text, size_t length, unsigned depth);

static void check_include(struct check *check, const struct option_origin *where,
    const struct token *token, unsigned depth)
{
	char *name = strndup(token->text, token->length), *to = name, *path = NULL, shown[256];
	const char *text;
	struct error error;
	size_t length;

	if (name != NULL) {
		/* Resolves escapes as libconfig does. */
		for (const char *from = name; *from != '\0'; from++)
			if (*from != '\\' || from[1] == '\\' || from[1] == '"') {
				from += *from == '\\';
				*to++ = *from;
			}
		*to = '\0';
		path = path_join(check->directory, name);
		free(name);
	}
	if (path == NULL) {
		check->errors->lost = true;
		return;
	}
	if (depth < INCLUDE_DEPTH_MAX && text_kept(check->config, path) == NULL) {
		text = text_keep(check->config, path, false, &length, &error);
		if (text != NULL) {
			check_file(check, path, text, length, depth + 1);
		} else {
			errors_add(check->errors, where, "can't include %s: %s",
			    log_escape(shown, sizeof(shown), path, strlen(path)), error.text);
			check->parsable = false;
		}
	}
	free(path);
}

static void check_bytes(struct check *check, const char *file, const char *text, size_t length)
{
	struct option_origin where = { .file = file, .line = 1 };

	if (strncmp(text, "\xef\xbb\xbf", 3) == 0) {
		errors_add(
		    check->errors, &where, "the file begins with a byte order mark: remove it");
		check->parsable = false;
	}
	if (strlen(text) < length) {
		for (const char *at = text; *at != '\0'; at++)
			where.line += *at == '\n';
		errors_add(check->errors, &where, "a NUL byte in the file");
		check->parsable = false;
	}
}

/* Checks a file and what it includes. */
static void check_file(
    struct check *check, const char *file, const char *text, size_t length, unsigned depth)
{
	struct lexer lexer = lexer_of(text);
	struct token token;

	check_bytes(check, file, text, length);
	for (; (token = lexer_next(&lexer)).kind != TOKEN_END; check->last = token) {
		struct option_origin where = { .file = file, .line = token.line };

		switch (token.kind) {
		case TOKEN_NAME:
			check->name = token;
			break;
		case TOKEN_INTEGER:
			check_integer(check, &where, &token);
			break;
		case TOKEN_MARK:
			/* libconfig 1.7 takes [ 1, 2, ]; 1.5 does not. */
			if (check->last.kind != TOKEN_MARK || *check->last.text != ',' ||
			    (*token.text != ']' && *token.text != ')'))
				break;
			errors_add(check->errors, &where, "%.*s: remove the comma before the %c",
			    (int)check->name.length, check->name.text, *token.text);
			check->parsable = false;
			break;
		case TOKEN_STRING:
			check_string(check, &where, &token);
			break;
		case TOKEN_INCLUDE:
			check_include(check, &where, &token, depth);
			break;
		case TOKEN_OPEN:
			errors_add(check->errors, &where, "the %s has no end",
			    *token.text == '/' ? "comment" : "string");
			check->parsable = false;
			break;
		default:
			break;
		}
	}
}

bool config_check(struct config *config, const char *file, const char *text, size_t length,
    const char *directory, struct strings *errors)
{
	struct check check = { config, directory, errors, .parsable = true, .name.text = "",
		.last.text = "" };

	check_file(&check, file, text, length, 0);
	return check.parsable;
}
