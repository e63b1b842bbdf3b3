/*
 * A value that contains a line feed, which only RESP can store, could pass for further replies: GET refuses it, and lists
 * escape it.
 */
#include "services/kv_words.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/escape.h"
#include "core/space.h"
#include "kv/command.h"
#include "kv/list.h"
#include "net/frame_lines.h"
#include "net/replies.h"

const char kv_words_failure[] = "ERROR: storage failed\n";

static const char missing[] = "NOT_FOUND\n", no_line[] = "ERROR: value is not a line\n";

/* KV_OK has none: the command's row has it. */
static const char *const texts[KV_STATUSES] = {
	[KV_NOT_FOUND] = missing,
	[KV_EXISTS] = "EXISTS\n",
	[KV_CHANGED] = "CHANGED\n",
	[KV_NEVER] = "NEVER\n",
	[KV_EMPTY] = "ERROR: empty command\n",
	[KV_UNKNOWN] = "ERROR: unknown command\n",
	[KV_NOT_AUTHENTICATED] = "ERROR: not authenticated\n",
	[KV_NOT_ALLOWED] = "ERROR: not allowed\n",
	[KV_KEY_NOT_ALLOWED] = "ERROR: not allowed\n",
	[KV_KEY_TOO_LONG] = "ERROR: key too long\n",
	[KV_PATTERN_TOO_LONG] = "ERROR: pattern too long\n",
	[KV_VALUE_TOO_LONG] = "ERROR: value too long\n",
	[KV_NOT_A_NUMBER] = "ERROR: not a number\n",
	[KV_OUT_OF_RANGE] = "ERROR: number out of range\n",
	[KV_OVERFLOW] = "ERROR: number out of range\n",
	[KV_INVALID] = "ERROR: invalid argument\n",
	[KV_INVALID_EXPIRE] = "ERROR: invalid expire time\n",
	[KV_TOO_MANY_KEYS] = "ERROR: too many keys\n",
	[KV_NO_MEMORY] = "ERROR: out of memory\n",
	[KV_LOADING] = "ERROR: loading\n",
	[KV_FULL] = "ERROR: store is full\n",
	[KV_UNAVAILABLE] = kv_words_failure,
};

static void add_usage(struct replies *replies, const struct command *command)
{
	char usage[USAGE_MAX];
	size_t length = command_usage(command, usage);

	replies_text(replies, "ERROR: wrong number of arguments: ");
	replies_add(replies, usage, length);
	replies_add(replies, "\n", 1);
}

void kv_words_error(struct replies *replies, const struct call *call)
{
	if (call->status != KV_WRONG_ARGUMENTS)
		replies_text(replies, texts[call->status]);
	else if (call->command->flags & COMMAND_TERSE)
		replies_text(replies, texts[KV_UNKNOWN]);
	else
		add_usage(replies, call->command);
}

static bool has_line_feed(struct slice value)
{
	return value.length > 0 && memchr(value.bytes, '\n', value.length) != NULL;
}

bool kv_words_is_line(struct slice value)
{
	return value.length <= LINE_MAX_LENGTH && !has_line_feed(value);
}

/* --- lists --- */

/* Adds the bytes with escapes for backslashes and what `escaped` says. */
static void add_escaped(struct replies *replies, struct slice bytes, bool (*escaped)(char byte))
{
	size_t plain = 0;
	char escape[ESCAPE_MAX];

	for (size_t i = 0; i < bytes.length; i++) {
		char byte = bytes.bytes[i];

		if (byte != '\\' && !escaped(byte))
			continue;
		replies_add(replies, bytes.bytes + plain, i - plain);
		plain = i + 1;
		replies_add(replies, escape, escape_write(byte, ESCAPE_SPACE, escape));
	}
	replies_add(replies, bytes.bytes + plain, bytes.length - plain);
}

static bool is_line_feed(char byte)
{
	return byte == '\n';
}

static bool is_word(struct slice bytes)
{
	for (size_t i = 0; i < bytes.length; i++)
		if (is_space(bytes.bytes[i]))
			return false;
	return true;
}

static void kv_words_item(struct replies *replies, const struct list_item *item)
{
	if (item->kind == KV_NOTHING) {
		replies_text(replies, missing);
		return;
	}
	if (item->kind == KV_KEY && !is_word(item->bytes))
		add_escaped(replies, item->bytes, is_space);
	else if (item->kind == KV_BYTES && has_line_feed(item->bytes))
		add_escaped(replies, item->bytes, is_line_feed);
	else
		replies_add(replies, item->bytes.bytes, item->bytes.length);
	replies_add(replies, "\n", 1);
}

static void kv_words_length(struct replies *replies, size_t length)
{
	char line[24];

	snprintf(line, sizeof(line), "%zu\n", length);
	replies_text(replies, line);
}

static void add_list(struct replies *replies, const struct list *list)
{
	struct list_item item;
	size_t at = 0;

	kv_words_length(replies, list->count);
	while (list_next(list, &at, &item))
		kv_words_item(replies, &item);
}

/* --- results --- */

static bool carries_value(const struct kv_result *result)
{
	return result->kind == KV_BYTES || result->kind == KV_DIGESTED;
}

/* What the result carries. */
static void add_content(struct replies *replies, const struct kv_result *result)
{
	char number[24];

	switch (result->kind) {
	case KV_LIST:
	case KV_PAGE:
		add_list(replies, result->list);
		return;
	case KV_INTEGER:
		snprintf(number, sizeof(number), "%" PRId64, result->integer);
		replies_line(replies, number, strlen(number));
		return;
	case KV_DIGESTED:
		snprintf(number, sizeof(number), "%016" PRIx64 " ", (uint64_t)result->integer);
		replies_text(replies, number);
		break;
	default:
		break;
	}
	replies_line(replies, result->bytes.bytes, result->bytes.length);
}

void kv_words_result(
    struct replies *replies, const struct call *call, const struct kv_result *result)
{
	const char *text; /* a constant one; NULL = what the result carries */

	if (result->status == KV_OK && result->kind == KV_BYTES && result->commit == 0 &&
	    kv_words_is_line(result->bytes)) { /* as below; GET is fast */
		replies_line(replies, result->bytes.bytes, result->bytes.length);
		return;
	}
	if (result->status == KV_WRONG_ARGUMENTS) {
		add_usage(replies, call->command);
		return;
	}
	if (result->status != KV_OK)
		text = texts[result->status];
	else if (result->kind == KV_NOTHING)
		text = call->command->done != NULL ? call->command->done : "OK\n";
	else if (carries_value(result) && !kv_words_is_line(result->bytes))
		text = no_line;
	else
		text = NULL;
	if (result->commit == 0) {
		if (text == NULL)
			add_content(replies, result);
		else
			replies_text(replies, text);
	} else if (text != NULL) {
		replies_promise(replies, result->commit, text);
	} else {
		replies_promise_begin(replies, result->commit);
		add_content(replies, result);
		replies_promise_end(replies);
	}
}

const struct wording kv_words = {
	.result = kv_words_result,
	.length = kv_words_length,
	.item = kv_words_item,
	.failure = kv_words_failure,
};
