/* Every text of an error is that of Redis 7.2 where it has the error: client libraries look at the first word at least. */
#include "services/resp_words.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kv/command.h"
#include "kv/list.h"
#include "kv/verb.h"
#include "net/frame_resp.h"
#include "net/replies.h"

#define HEAD_MAX 32     /* bytes of a type with a number */
#define SHORT_BULK 2048 /* bytes, up to which it is written in one piece */
#define SHOWN_MAX 128   /* bytes of what a client has sent, in an error */
#define ERROR_MAX 512

static const char ok[] = "+OK\r\n", one[] = ":1\r\n", zero[] = ":0\r\n", null2[] = "$-1\r\n",
		  null3[] = "_\r\n";

const char resp_words_failure[] = "-ERR storage failed\r\n";

/* --- the types --- */

/* Writes the type, the number and CR LF, at most HEAD_MAX bytes; returns their end. */
static char *write_head(char *to, char type, int64_t number)
{
	uint64_t rest = number < 0 ? -(uint64_t)number : (uint64_t)number;
	char digits[20];
	size_t count = 0;

	*to++ = type;
	if (number < 0)
		*to++ = '-';
	do
		digits[count++] = (char)('0' + rest % 10);
	while ((rest /= 10) > 0);
	while (count > 0)
		*to++ = digits[--count];
	*to++ = '\r';
	*to++ = '\n';
	return to;
}

static void add_head(struct replies *replies, char type, int64_t number)
{
	char *room = replies_room(replies, HEAD_MAX);

	replies_added(replies, (size_t)(write_head(room, type, number) - room));
}

void resp_status(struct replies *replies, const char *text)
{
	replies_add(replies, "+", 1);
	replies_text(replies, text);
	replies_add(replies, "\r\n", 2);
}

void resp_error(struct replies *replies, const char *text)
{
	replies_add(replies, "-", 1);
	replies_text(replies, text);
	replies_add(replies, "\r\n", 2);
}

void resp_errorf(struct replies *replies, const char *format, ...)
{
	char text[ERROR_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	/* What a client has sent must not end the error. */
	for (char *at = text; *at != '\0'; at++)
		if (*at == '\r' || *at == '\n')
			*at = ' ';
	resp_error(replies, text);
}

int resp_shown(struct slice word)
{
	return (int)(word.length > SHOWN_MAX ? SHOWN_MAX : word.length);
}

void resp_integer(struct replies *replies, int64_t number)
{
	add_head(replies, ':', number);
}

void resp_bulk(struct replies *replies, struct slice bytes)
{
	char *room, *to;

	if (bytes.length > SHORT_BULK) {
		add_head(replies, '$', (int64_t)bytes.length);
		replies_add(replies, bytes.bytes, bytes.length);
		replies_add(replies, "\r\n", 2);
		return;
	}
	room = replies_room(replies, HEAD_MAX + SHORT_BULK + 2);
	to = write_head(room, '$', (int64_t)bytes.length);
	if (bytes.length > 0)
		memcpy(to, bytes.bytes, bytes.length);
	to += bytes.length;
	memcpy(to, "\r\n", 2);
	replies_added(replies, (size_t)(to + 2 - room));
}

void resp_text(struct replies *replies, const char *text)
{
	resp_bulk(replies, (struct slice){ text, strlen(text) });
}

void resp_null(struct replies *replies, int version)
{
	replies_text(replies, version == RESP3 ? null3 : null2);
}

void resp_null_array(struct replies *replies, int version)
{
	replies_text(replies, version == RESP3 ? null3 : "*-1\r\n");
}

void resp_array(struct replies *replies, size_t items)
{
	add_head(replies, '*', (int64_t)items);
}

void resp_map(struct replies *replies, int version, size_t pairs)
{
	if (version == RESP3)
		add_head(replies, '%', (int64_t)pairs);
	else
		add_head(replies, '*', 2 * (int64_t)pairs);
}

void resp_set(struct replies *replies, int version, size_t items)
{
	add_head(replies, version == RESP3 ? '~' : '*', (int64_t)items);
}

void resp_push(struct replies *replies, int version, size_t items)
{
	add_head(replies, version == RESP3 ? '>' : '*', (int64_t)items);
}

void resp_verbatim(struct replies *replies, int version, struct slice text)
{
	if (version != RESP3) {
		resp_bulk(replies, text);
		return;
	}
	add_head(replies, '=', (int64_t)text.length + 4);
	replies_add(replies, "txt:", 4);
	replies_add(replies, text.bytes, text.length);
	replies_add(replies, "\r\n", 2);
}

/* --- errors --- */

static const char *const errors[KV_STATUSES] = {
	[KV_NOT_AUTHENTICATED] = "-NOAUTH Authentication required.\r\n",
	[KV_KEY_NOT_ALLOWED] = "-NOPERM No permissions to access a key\r\n",
	[KV_KEY_TOO_LONG] = "-ERR key too long\r\n",
	[KV_PATTERN_TOO_LONG] = "-ERR pattern too long\r\n",
	[KV_VALUE_TOO_LONG] = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n",
	[KV_NOT_A_NUMBER] = "-ERR value is not an integer or out of range\r\n",
	[KV_OUT_OF_RANGE] = "-ERR value is not an integer or out of range\r\n",
	[KV_OVERFLOW] = "-ERR increment or decrement would overflow\r\n",
	[KV_TOO_MANY_KEYS] = "-ERR too many keys\r\n",
	[KV_NO_MEMORY] = "-ERR out of memory\r\n",
	[KV_LOADING] = "-LOADING Redis is loading the dataset in memory\r\n",
	[KV_FULL] = "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
	/* A client that sees READONLY knows that nothing was changed, and that it may try again. */
	[KV_UNAVAILABLE] = "-READONLY storage failed, changes are refused until it works again\r\n",
};

void resp_write_name(const struct command *command, struct slice within, char name[RESP_NAME_MAX])
{
	int length = within.length > COMMAND_NAME_MAX ? COMMAND_NAME_MAX : (int)within.length;

	snprintf(name, RESP_NAME_MAX, "%s%s%.*s", command->name, length > 0 ? "|" : "", length,
	    within.bytes);
	for (; *name != '\0'; name++)
		if (*name >= 'A' && *name <= 'Z')
			*name = (char)(*name | 0x20);
}

static void refuse_unknown(struct replies *replies, const struct message *request)
{
	const char *at;
	size_t words = resp_words(request, &at), length = 0;
	struct slice name = resp_word(&at);
	char args[SHOWN_MAX + 8] = "";

	while (--words > 0 && length < SHOWN_MAX) {
		struct slice word = resp_word(&at);
		int most = SHOWN_MAX - (int)length;

		if (word.length < (size_t)most)
			most = (int)word.length;
		length += (size_t)sprintf(args + length, "'%.*s' ", most, word.bytes);
	}
	resp_errorf(replies, "ERR unknown command '%.*s', with args beginning with: %s",
	    resp_shown(name), name.bytes, args);
}

void resp_help_begin(struct replies *replies, const struct command *command, size_t rows)
{
	resp_array(replies, 2 * rows + 3);
	replies_add(replies, "+", 1);
	replies_text(replies, command->name);
	replies_text(replies, " <subcommand> [argument...]. Subcommands are:\r\n");
}

void resp_help_row(struct replies *replies, const struct subcommand *row)
{
	replies_add(replies, "+", 1);
	replies_text(replies, row->name);
	if (*row->usage != '\0')
		replies_add(replies, " ", 1);
	replies_text(replies, row->usage);
	replies_text(replies, "\r\n+    ");
	replies_text(replies, row->help);
	replies_add(replies, "\r\n", 2);
}

void resp_help_end(struct replies *replies)
{
	resp_help_row(replies, &(struct subcommand){ "HELP", "", "This list." });
}

static void add_help(struct replies *replies, const struct command *command)
{
	size_t rows = 0;

	while (command->within[rows].name != NULL)
		rows++;
	resp_help_begin(replies, command, rows);
	for (size_t i = 0; i < rows; i++)
		resp_help_row(replies, &command->within[i]);
	resp_help_end(replies);
}

static void refuse_subcommand(
    struct replies *replies, const struct command *command, struct slice name)
{
	resp_errorf(replies, "ERR unknown subcommand '%.*s'. Try %s HELP.", resp_shown(name),
	    name.bytes, command->name);
}

/*
 * A request with too few or too many words. The row of a command with others within it counts their words, too, such as
 * a key; so one without that may be for help, or for what is not there.
 */
static void refuse_arguments(
    struct replies *replies, const struct command *command, const struct message *request)
{
	struct slice within = { "", 0 };
	char name[RESP_NAME_MAX];
	const char *at;
	size_t words = resp_words(request, &at);

	if (words > 1 && command->flags & COMMAND_PARENT) {
		resp_word(&at);
		within = resp_word(&at);
	}
	if (words == 2 && command->within != NULL && verb_is_word(within, "HELP")) {
		add_help(replies, command);
	} else if (words > 1 && command->within != NULL && !verb_has_subcommand(command, within)) {
		refuse_subcommand(replies, command, within);
	} else {
		resp_write_name(command, within, name);
		resp_errorf(replies, "ERR wrong number of arguments for '%s' command", name);
	}
}

static void refuse_expire(struct replies *replies, const struct command *command)
{
	char name[RESP_NAME_MAX];

	resp_write_name(command, (struct slice){ "", 0 }, name);
	resp_errorf(replies, "ERR invalid expire time in '%s' command", name);
}

static void refuse_right(struct replies *replies, const struct command *command)
{
	char name[RESP_NAME_MAX];

	resp_write_name(command, (struct slice){ "", 0 }, name);
	resp_errorf(replies, RESP_NO_RIGHT, name);
}

void resp_refusal(struct replies *replies, const struct call *call, const struct message *request)
{
	switch (call->status) {
	case KV_UNKNOWN:
		refuse_unknown(replies, request);
		return;
	case KV_INVALID:
		resp_errorf(replies, "%.*s", (int)call->args[0].length, call->args[0].bytes);
		return;
	case KV_INVALID_EXPIRE:
		refuse_expire(replies, call->command);
		return;
	case KV_WRONG_ARGUMENTS:
		refuse_arguments(replies, call->command, request);
		return;
	case KV_NOT_ALLOWED:
		refuse_right(replies, call->command);
		return;
	default:
		replies_text(replies, errors[call->status]);
	}
}

void resp_status_error(struct replies *replies, enum kv_status status)
{
	replies_text(replies, errors[status]);
}

/* --- results --- */

/* A constant text that replies to the status, or NULL: what the result carries, or an error that needs the call. */
static const char *constant_reply(
    const struct call *call, const struct kv_result *result, const char *null)
{
	enum command_reply reply = call->command->reply;

	switch (result->status) {
	case KV_OK:
		if (result->kind != KV_NOTHING)
			return NULL;
		return reply == REPLY_DONE ? one : ok;
	case KV_NOT_FOUND:
	case KV_EXISTS:
	case KV_CHANGED:
	case KV_NEVER:
		switch (reply) {
		case REPLY_DONE:
			return zero;
		case REPLY_TIME:
			return result->status == KV_NEVER ? ":-1\r\n" : ":-2\r\n";
		case REPLY_NEEDED:
			return "-ERR no such key\r\n";
		default:
			return null;
		}
	default:
		return errors[result->status];
	}
}

static void add_item(struct replies *replies, const struct list_item *item, const char *null)
{
	if (item->kind == KV_NOTHING) {
		replies_text(replies, null);
	} else if (item->kind == KV_INTEGER) {
		replies_add(replies, ":", 1);
		replies_add(replies, item->bytes.bytes, item->bytes.length);
		replies_add(replies, "\r\n", 2);
	} else {
		resp_bulk(replies, item->bytes);
	}
}

static void add_items(struct replies *replies, const struct kv_result *result, const char *null)
{
	size_t count = result->list->count, at = 0;
	struct list_item item;

	if (result->kind == KV_PAGE) {
		resp_array(replies, 2);
		list_next(result->list, &at, &item);
		resp_bulk(replies, item.bytes);
		count--;
	}
	resp_array(replies, count);
	while (list_next(result->list, &at, &item))
		add_item(replies, &item, null);
}

static void add_content(struct replies *replies, const struct call *call,
    const struct kv_result *result, const char *null)
{
	struct slice text = result->bytes;

	switch (result->status) {
	case KV_OK:
		break;
	case KV_INVALID:
		resp_errorf(replies, "ERR %.*s", (int)text.length, text.bytes);
		return;
	case KV_INVALID_EXPIRE:
		refuse_expire(replies, call->command);
		return;
	case KV_UNKNOWN:
		refuse_subcommand(replies, call->command, call->args[0]);
		return;
	case KV_NOT_ALLOWED: /* by one of its options */
		refuse_right(replies, call->command);
		return;
	default: /* KV_WRONG_ARGUMENTS, by a command itself */
		resp_error(replies, "ERR syntax error");
		return;
	}
	switch (result->kind) {
	case KV_INTEGER:
		resp_integer(replies, result->integer);
		return;
	case KV_TEXT:
		replies_add(replies, "+", 1);
		replies_add(replies, text.bytes, text.length);
		replies_add(replies, "\r\n", 2);
		return;
	case KV_LIST:
	case KV_PAGE:
		add_items(replies, result, null);
		return;
	default:
		resp_bulk(replies, text);
	}
}

static void add_result(struct replies *replies, const struct call *call,
    const struct kv_result *result, const char *null)
{
	const char *text;

	if (result->status == KV_OK && result->kind == KV_BYTES && result->commit == 0) {
		resp_bulk(replies, result->bytes); /* as below; GET is fast */
		return;
	}
	text = constant_reply(call, result, null);
	if (result->commit == 0) {
		if (text == NULL)
			add_content(replies, call, result, null);
		else
			replies_text(replies, text);
	} else if (text != NULL) {
		replies_promise(replies, result->commit, text);
	} else {
		replies_promise_begin(replies, result->commit);
		add_content(replies, call, result, null);
		replies_promise_end(replies);
	}
}

static void add_result2(
    struct replies *replies, const struct call *call, const struct kv_result *result)
{
	add_result(replies, call, result, null2);
}

static void add_result3(
    struct replies *replies, const struct call *call, const struct kv_result *result)
{
	add_result(replies, call, result, null3);
}

static void add_item2(struct replies *replies, const struct list_item *item)
{
	add_item(replies, item, null2);
}

static void add_item3(struct replies *replies, const struct list_item *item)
{
	add_item(replies, item, null3);
}

const struct wording resp2_words = { .result = add_result2,
	.length = resp_array,
	.item = add_item2,
	.failure = resp_words_failure };
const struct wording resp3_words = { .result = add_result3,
	.length = resp_array,
	.item = add_item3,
	.failure = resp_words_failure };
