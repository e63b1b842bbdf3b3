/*
 * The kv service in lines: words become calls, and results become lines. Lines that have arrived together are served
 * in three steps: all are read, all their keys are hashed and prefetched, and each is run. The prefetches make pipelined
 * requests fast.
 */
#include <endian.h>
#include <event2/buffer.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/space.h"
#include "kv/engine.h"
#include "net/frame_lines.h"
#include "net/instance.h"
#include "net/replies.h"
#include "net/stream.h"
#include "services/kv.h"

const char kv_lines_failure[] = "ERROR: storage failed\n";

/* --- from a line to a call --- */

/* Takes the first word off the bytes, and the white space behind it. */
static struct slice next_word(struct slice *rest)
{
	const uint64_t ones = 0x0101010101010101;
	struct slice word = { rest->bytes, 0 };
	uint64_t eight, low;
	size_t n = 0;

	/* Eight bytes at once: the lowest bit that is set belongs to the first byte that is at most a blank. */
	for (; rest->length - n >= sizeof(eight); n += sizeof(eight)) {
		memcpy(&eight, rest->bytes + n, sizeof(eight));
		eight = le64toh(eight);
		low = (eight - ones * (' ' + 1)) & ~eight & ones * 0x80;
		if (low != 0) {
			n += (size_t)__builtin_ctzll(low) / 8;
			break;
		}
	}
	while (
	    n < rest->length && ((unsigned char)rest->bytes[n] > ' ' || !is_space(rest->bytes[n])))
		n++;
	word.length = n;
	while (n < rest->length && is_space(rest->bytes[n]))
		n++;
	rest->bytes += n;
	rest->length -= n;
	return word;
}

/* NULL, or the error: the line is no call then, and call->command is NULL. */
static const char *read_line(
    const struct message *line, const struct call_limits *limits, struct call *call)
{
	const char *begin = line->bytes, *end = begin + line->length;
	struct slice rest, words[CALL_ARGS + 2];
	const struct command *command;
	size_t count = 0;

	call->command = NULL;
	while (begin < end && is_space(end[-1]))
		end--;
	while (begin < end && is_space(*begin))
		begin++;
	if (begin == end)
		return "empty command";
	rest = (struct slice){ begin, (size_t)(end - begin) };
	command = command_find(next_word(&rest));
	if (command == NULL)
		return "unknown command";
	for (const struct arg *arg = command->args; rest.length > 0; arg++) {
		if (arg->type == ARG_REST || arg->type == ARG_END) {
			words[count++] = rest; /* with ARG_END it is one too many */
			break;
		}
		words[count++] = next_word(&rest);
	}
	return command_read(command, words, count, limits, call);
}

/* --- from a result to a line --- */

/* Adds the reply; one that rests on a commit is promised. */
static void kv_lines_reply(
    struct replies *replies, const struct call *call, const struct kv_result *result)
{
	static const char *const failures[KV_STATUSES] = {
		[KV_NOT_FOUND] = "NOT_FOUND\n",
		[KV_LOADING] = "ERROR: loading\n",
		[KV_FULL] = "ERROR: store is full\n",
		[KV_UNAVAILABLE] = kv_lines_failure,
	};
	const char *text = call->command->done != NULL ? call->command->done : "OK\n";
	char number[24];

	if (result->status != KV_OK)
		text = failures[result->status];
	else if (result->kind != KV_NOTHING)
		text = NULL;
	if (text != NULL && result->commit == 0) {
		replies_text(replies, text);
		return;
	}
	if (text != NULL) {
		replies_promise(replies, result->commit, text);
		return;
	}
	if (result->commit != 0)
		replies_promise_begin(replies, result->commit);
	if (result->kind == KV_BYTES) {
		replies_add(replies, result->bytes.bytes, result->bytes.length);
	} else {
		snprintf(number, sizeof(number), "%" PRId64, result->integer);
		replies_text(replies, number);
	}
	replies_add(replies, "\n", 1);
	if (result->commit != 0)
		replies_promise_end(replies);
}

static enum verdict kv_lines_messages(struct stream *stream, struct run *run)
{
	const struct instance *instance = stream_instance(stream);
	struct kv *kv = instance->state;
	struct engine *engine = kv->engine;
	struct replies *replies = run->replies;
	struct call calls[RUN_MAX];
	const char *errors[RUN_MAX];

	for (size_t i = 0; i < run->count; i++)
		errors[i] = read_line(&run->messages[i], &kv->limits, &calls[i]);
	engine->ops->prepare(engine, calls, run->count);
	while (run->consumed < run->count && replies->unsent <= REPLIES_HIGH) {
		size_t i = run->consumed++;
		const struct call *call = &calls[i];
		struct kv_result result;

		if (errors[i] != NULL) {
			replies_text(replies, "ERROR: ");
			replies_text(replies, errors[i]);
			replies_text(replies, "\n");
		} else if (call->command->flags & COMMAND_LOCAL) { /* QUIT */
			replies_text(replies, call->command->done);
			return VERDICT_CLOSE;
		} else {
			engine->ops->submit(engine, call, &result);
			if (call->command->flags & COMMAND_GROWS &&
			    (result.status == KV_FULL || kv->is_full))
				kv_note_growth(instance, call, result.status);
			kv_lines_reply(replies, call, &result);
		}
	}
	return VERDICT_CONTINUE;
}

static enum verdict kv_lines_open(struct stream *stream, struct evbuffer *out)
{
	(void)stream;
	return evbuffer_add(out, "READY\n", 6) == -1 ? VERDICT_ABORT : VERDICT_CONTINUE;
}

static const struct refusals refusals = {
	.over_limit = "ERROR: too many connections\n",
	.long_line = "ERROR: line too long\n",
	.sniffed = SNIFFED_TEXTS("ERROR: this is the echod key-value port, not ", "\n"),
};

const struct handlers kv_lines_handlers = {
	.framing = &framing_lines,
	.refusals = &refusals,
	.open = kv_lines_open,
	.messages = kv_lines_messages,
};
