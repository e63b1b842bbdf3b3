/*
 * The kv service in lines: words become calls, and results become lines. Lines that have arrived together are served
 * in three steps: all are read, all their keys are prepared, and each is run. The prefetches of the second step are
 * what makes pipelined requests fast.
 */
#include <endian.h>
#include <event2/buffer.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "core/space.h"
#include "kv/engine.h"
#include "net/instance.h"
#include "net/stream.h"
#include "services/kv.h"
#include "services/kv_replies.h"
#include "services/service.h"

#define FAILURE "ERROR: storage failed"

const char kv_lines_failure[] = FAILURE "\n";

/* A client's state. */
struct kv_client {
	struct hold *hold;
};

/* Requests of one client that are served together, and their replies. */
struct kv_run {
	struct stream *stream;
	const struct instance *instance;
	struct kv *kv;
	struct replies replies;
	bool held; /* some reply waits for a commit */
};

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
    const struct line *line, const struct call_limits *limits, struct call *call)
{
	struct slice rest = { line->bytes, line->length }, name, words[CALL_ARGS + 2];
	const struct command *command;
	size_t count = 0;

	call->command = NULL;
	strip(&rest.bytes, &rest.length);
	if (rest.length == 0)
		return "empty command";
	name = next_word(&rest);
	command = command_find(name);
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

/* Holds back the reply that began there until the commit it rests on is reported. */
static enum verdict hold_back(struct kv_run *r, uint64_t commit, size_t begin)
{
	struct kv_client *client = stream_state(r->stream);

	if (hold_reply(&r->kv->holds, &client->hold, r->stream, commit, begin,
		replies_end(&r->replies)) == -1)
		return VERDICT_ABORT;
	r->held = true;
	return VERDICT_CONTINUE;
}

static void reply_error(struct kv_run *r, const char *error)
{
	replies_text(&r->replies, "ERROR: ");
	replies_text(&r->replies, error);
	replies_text(&r->replies, "\n");
}

static enum verdict reply(struct kv_run *r, const struct call *call, const struct kv_result *result)
{
	static const char *const failures[] = {
		[KV_NOT_FOUND] = "NOT_FOUND",
		[KV_FULL] = "ERROR: store is full",
		[KV_UNAVAILABLE] = FAILURE,
	};
	size_t begin = replies_end(&r->replies);
	char number[24];

	if (result->status != KV_OK) {
		replies_text(&r->replies, failures[result->status]);
	} else if (result->kind == KV_BYTES) {
		replies_add(&r->replies, result->bytes.bytes, result->bytes.length);
	} else if (result->kind == KV_INTEGER) {
		snprintf(number, sizeof(number), "%" PRId64, result->integer);
		replies_text(&r->replies, number);
	} else {
		replies_text(&r->replies, call->command->done);
	}
	replies_add(&r->replies, "\n", 1);
	return result->commit == 0 ? VERDICT_CONTINUE : hold_back(r, result->commit, begin);
}

static enum verdict run_call(struct kv_run *r, const struct call *call)
{
	struct engine *engine = r->kv->engine;
	struct kv_result result;

	if (call->command->flags & COMMAND_LOCAL) { /* QUIT */
		result = (struct kv_result){ .status = KV_OK };
		reply(r, call, &result);
		return VERDICT_CLOSE;
	}
	engine->ops->submit(engine, call, &result);
	if (call->command->flags & COMMAND_GROWS && (result.status == KV_FULL || r->kv->is_full))
		kv_note_growth(r->instance, call, result.status);
	return reply(r, call, &result);
}

/* --- the streams --- */

static enum verdict kv_lines(struct stream *stream, struct evbuffer *out, struct lines_run *run)
{
	const struct instance *instance = stream_instance(stream);
	struct kv *kv = instance->state;
	struct kv_run r; /* an initializer would clear the replies' buffer */
	struct call calls[LINES_PER_RUN];
	const char *errors[LINES_PER_RUN];
	enum verdict verdict = VERDICT_CONTINUE;

	r.stream = stream;
	r.instance = instance;
	r.kv = kv;
	r.held = false;
	replies_begin(&r.replies, out);
	for (size_t i = 0; i < run->count; i++)
		errors[i] = read_line(&run->lines[i], &kv->limits, &calls[i]);
	kv->engine->ops->prepare(kv->engine, calls, run->count);
	while (verdict == VERDICT_CONTINUE && run->taken < run->count &&
	       replies_end(&r.replies) <= STREAM_OUTPUT_HIGH) {
		size_t i = run->taken++;

		if (errors[i] != NULL)
			reply_error(&r, errors[i]);
		else
			verdict = run_call(&r, &calls[i]);
	}
	replies_flush(&r.replies);
	run->held = r.held;
	/* A reply that is lost would let every later one be taken for another's. */
	return r.replies.lost ? VERDICT_ABORT : verdict;
}

static enum verdict kv_lines_open(struct stream *stream, struct evbuffer *out)
{
	(void)stream;
	return evbuffer_add(out, "READY\n", 6) == -1 ? VERDICT_ABORT : VERDICT_CONTINUE;
}

static void kv_lines_close(struct stream *stream)
{
	struct kv_client *client = stream_state(stream);

	hold_forget(client->hold);
}

const struct handlers kv_lines_handlers = {
	.conn_size = sizeof(struct kv_client),
	.open = kv_lines_open,
	.lines = kv_lines,
	.close = kv_lines_close,
	.long_line = "ERROR: line too long\n",
	.refusal = "ERROR: too many connections\n",
	.foreign = FOREIGN_TEXTS("ERROR: this is the echod key-value port, not ", "\n"),
};
