/* The words of a request, and what many replies have in common. */
#include "services/resp_request.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/command.h"
#include "kv/verb.h"
#include "net/frame_resp.h"
#include "services/kv_resp.h"
#include "services/resp_words.h"

#define TEXT_MAX \
	((size_t)512 << 10) /* bytes: a longer reply would end its client as a slow reader */

struct slice resp_next_word(struct resp_request *request)
{
	if (request->words == 0)
		return (struct slice){ "", 0 };
	request->words--;
	return resp_word(&request->at);
}

enum verdict resp_ok(struct resp_request *r)
{
	resp_status(r->replies, "OK");
	return VERDICT_CONTINUE;
}

enum verdict resp_fail(struct resp_request *r, const char *text)
{
	resp_error(r->replies, text);
	return VERDICT_CONTINUE;
}

enum verdict resp_fail_status(struct resp_request *r, enum kv_status status)
{
	resp_status_error(r->replies, status);
	return VERDICT_CONTINUE;
}

enum verdict resp_fail_syntax(struct resp_request *r)
{
	return resp_fail(r, "ERR syntax error");
}

enum verdict resp_fail_number(struct resp_request *r)
{
	return resp_fail(r, "ERR value is not an integer or out of range");
}

static enum verdict reply_wrong_count(struct resp_request *r, const char *within)
{
	char name[RESP_NAME_MAX];

	resp_write_name(r->command, (struct slice){ within, strlen(within) }, name);
	resp_errorf(r->replies, "ERR wrong number of arguments for '%s' command", name);
	return VERDICT_CONTINUE;
}

bool resp_may_administer(const struct resp_request *r)
{
	const struct user *user = r->client->shared.login.user;

	return r->kv->users == NULL || (user != NULL && user->rights & RIGHT_ADMIN);
}

enum verdict resp_fail_right(struct resp_request *r)
{
	char name[RESP_NAME_MAX];

	resp_write_name(r->command, r->within, name);
	resp_errorf(r->replies, RESP_NO_RIGHT, name);
	return VERDICT_CONTINUE;
}

void resp_pair(struct replies *replies, const char *key, const char *value)
{
	resp_text(replies, key);
	resp_text(replies, value);
}

void text_add(struct text *text, const char *format, ...)
{
	size_t left = text->size - text->length;
	va_list args;
	char *more;
	int length;

	va_start(args, format);
	length = vsnprintf(text->size == 0 ? NULL : text->bytes + text->length, left, format, args);
	va_end(args);
	if ((size_t)length >= left) {
		size_t size = 2 * text->size + (size_t)length + 1;

		more = size > TEXT_MAX ? NULL : realloc(text->bytes, size);
		if (more == NULL) {
			text->failed = true;
			return;
		}
		text->bytes = more;
		text->size = size;
		va_start(args, format);
		vsnprintf(more + text->length, size - text->length, format, args);
		va_end(args);
	}
	text->length += (size_t)length;
}

enum verdict text_reply(struct resp_request *r, struct text *text)
{
	resp_verbatim(r->replies, r->version, (struct slice){ text->bytes, text->length });
	free(text->bytes);
	return VERDICT_CONTINUE;
}

static enum verdict reply_help(struct resp_request *r, const struct resp_within *rows)
{
	size_t count = 0;

	while (rows[count].text.name != NULL)
		count++;
	resp_help_begin(r->replies, r->command, count);
	for (size_t i = 0; i < count; i++)
		resp_help_row(r->replies, &rows[i].text);
	resp_help_end(r->replies);
	return VERDICT_CONTINUE;
}

static const struct resp_within *rows_within(const struct command *command)
{
	return ((const struct resp_command *)command)->within;
}

/* The row of that name; NULL = there is none. */
static const struct resp_within *find_within(const struct command *command, struct slice name)
{
	for (const struct resp_within *row = rows_within(command); row->text.name != NULL; row++)
		if (verb_is_word(name, row->text.name))
			return row;
	return NULL;
}

enum verdict resp_run_within(struct resp_request *r)
{
	struct slice name = resp_next_word(r);
	const struct resp_within *row = find_within(r->command, name);

	r->within = name;
	if (row != NULL) {
		if (r->words < row->least || r->words > row->most)
			return reply_wrong_count(r, row->text.name);
		r->client->within = &row->text;
		return row->run(r);
	}
	if (verb_is_word(name, "HELP"))
		return r->words == 0 ? reply_help(r, rows_within(r->command))
				     : reply_wrong_count(r, "HELP");
	resp_errorf(r->replies, "ERR unknown subcommand '%.*s'. Try %s HELP.", resp_shown(name),
	    name.bytes, r->command->name);
	return VERDICT_CONTINUE;
}

/* Whether a command that has others within it has none of that name, with so many words behind it. */
static bool is_malformed_within(const struct command *command, struct slice name, size_t words)
{
	const struct resp_within *row;

	if (!(command->flags & COMMAND_LOCAL))
		return command->within != NULL && !verb_has_subcommand(command, name);
	if (rows_within(command) == NULL)
		return false;
	row = find_within(command, name);
	return row == NULL || words < row->least || words > row->most;
}

bool resp_is_malformed(const struct call *call, const struct message *message)
{
	const struct command *command = call->command;
	struct slice name;
	const char *at;
	size_t words = resp_words(message, &at);

	if (call->status == KV_UNKNOWN || call->status == KV_NO_MEMORY)
		return true;
	if (words > 1 && command->flags & COMMAND_PARENT) {
		resp_word(&at);
		name = resp_word(&at);
		if (verb_is_word(name, "HELP"))
			return words > 2;
		if (is_malformed_within(command, name, words - 2))
			return true;
	}
	return call->status == KV_WRONG_ARGUMENTS && !resp_count_fits(command, words);
}
