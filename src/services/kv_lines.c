/*
 * The kv service in lines: words become calls; kv_words.c makes lines of the results. Lines that have arrived together
 * are served in three steps: all are read, all their keys are hashed and prefetched, and each is run. The prefetches
 * make pipelined requests fast.
 */
#include <endian.h>
#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>

#include "core/space.h"
#include "kv/engine.h"
#include "net/frame_lines.h"
#include "net/instance.h"
#include "net/replies.h"
#include "net/stream.h"
#include "services/kv.h"
#include "services/kv_listing.h"
#include "services/kv_words.h"

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
	if (n < rest->length) {
		do
			n++;
		while (is_space(rest->bytes[n])); /* the line does not end in white space */
	}
	rest->bytes += n;
	rest->length -= n;
	return word;
}

/* Makes a call of a line. *words is memory that the call needs, or NULL. */
static void read_line(const struct message *line, const struct call_limits *limits,
    struct call *call, struct slice **words)
{
	const char *begin = line->bytes, *end = begin + line->length;
	struct slice rest, few[CALL_ARGS + 2], *to = few;
	const struct command *command;
	const struct arg *arg;
	size_t count = 0;

	*words = NULL;
	while (begin < end && is_space(end[-1]))
		end--;
	while (begin < end && is_space(*begin))
		begin++;
	if (begin == end) {
		call->status = KV_EMPTY;
		return;
	}
	rest = (struct slice){ begin, (size_t)(end - begin) };
	command = command_find(next_word(&rest));
	if (command == NULL) {
		call->status = KV_UNKNOWN;
		return;
	}
	for (arg = command->args; rest.length > 0; arg += !(arg->flags & ARG_MANY)) {
		if (arg->flags & ARG_MANY && *words == NULL) {
			/* A word takes two bytes, the last one only one. */
			to = malloc((count + rest.length / 2 + 1) * sizeof(*to));
			if (to == NULL) {
				call->status = KV_NO_MEMORY;
				return;
			}
			memcpy(to, few, count * sizeof(*to));
			*words = to;
		}
		if (arg->type == ARG_REST || arg->type == ARG_END) {
			to[count++] = rest; /* with ARG_END it is one too many */
			break;
		}
		to[count++] = next_word(&rest);
	}
	command_read(command, to, count, limits, call);
}

/* --- serving --- */

/* Replies that the value is no line instead of running a call that would lose it. */
static bool refuses_value(struct engine *engine, const struct call *call, struct replies *replies)
{
	struct call get = *call;
	struct kv_result result;

	get.command = command_find((struct slice){ "GET", 3 });
	engine->ops->submit(engine, &get, &result);
	if (result.status != KV_OK || kv_words_is_line(result.bytes))
		return false;
	kv_words_result(replies, &get, &result);
	return true;
}

/* AUTH */
static enum verdict log_in(struct stream *stream, struct kv_client *client, const struct call *call,
    struct replies *replies)
{
	enum login_result result =
	    kv_login_try(stream, &client->login, call->args[0], call->args[1]);

	switch (result) {
	case LOGIN_OK:
		replies_text(replies, "OK\n");
		return VERDICT_CONTINUE;
	case LOGIN_WAITS:
		return VERDICT_WAIT;
	case LOGIN_WRONG:
	case LOGIN_WRONG_LAST:
		replies_text(replies, "ERROR: wrong name or password\n");
		return result == LOGIN_WRONG ? VERDICT_CONTINUE : VERDICT_AUTH;
	case LOGIN_BUSY:
		replies_text(replies, "ERROR: too many logins, try again later\n");
		return VERDICT_CONTINUE;
	case LOGIN_NO_USERS:
		replies_text(replies, "ERROR: no users are configured\n");
		return VERDICT_CONTINUE;
	case LOGIN_NO_MEMORY:
		break;
	}
	return VERDICT_ABORT;
}

/* Runs a call, or replies why not. VERDICT_CLOSE after QUIT. */
static enum verdict serve(
    struct stream *stream, struct kv_client *client, struct call *call, struct replies *replies)
{
	struct instance *instance = stream_instance(stream);
	const struct kv *kv = instance->state;

	kv_restrict(kv, client, call);
	if (call->status != KV_OK) {
		kv_words_error(replies, call);
		return VERDICT_CONTINUE;
	}
	if (call->command->flags & COMMAND_LOCAL && call->command->done == NULL)
		return log_in(stream, client, call, replies);
	if (call->command->flags & COMMAND_LOCAL) { /* QUIT */
		replies_text(replies, call->command->done);
		return VERDICT_CLOSE;
	}
	if (call->command->flags & COMMAND_OLD_VALUE && refuses_value(kv->engine, call, replies))
		return VERDICT_CONTINUE;
	client->listing = kv_run(instance, call, &kv_words, replies);
	return VERDICT_CONTINUE;
}

/* Serves a login that has waited. */
static enum verdict serve_kept(
    struct stream *stream, struct kv_client *client, struct message *line, struct replies *replies)
{
	const struct kv *kv = stream_instance(stream)->state;
	enum verdict verdict;
	struct slice *words;
	struct call call;

	read_line(line, &kv->limits, &call, &words);
	verdict = serve(stream, client, &call, replies);
	free(words);
	if (verdict == VERDICT_WAIT && !kv_login_keep(&client->login, line))
		verdict = VERDICT_ABORT;
	kv_login_free_message(line);
	return verdict;
}

static enum verdict kv_lines_messages(struct stream *stream, struct run *run)
{
	struct kv_client *client = stream_state(stream);
	struct kv *kv = stream_instance(stream)->state;
	struct engine *engine = kv->engine;
	struct replies *replies = run->replies;
	enum verdict verdict = VERDICT_CONTINUE;
	struct call calls[RUN_MAX];
	struct slice *words[RUN_MAX];
	struct message kept;

	if (kv_login_take(&client->login, &kept))
		return serve_kept(stream, client, &kept, replies);
	if (client->listing != NULL) {
		run->unfinished = kv_listing_continue(kv, &client->listing, replies);
		return VERDICT_CONTINUE;
	}
	for (size_t i = 0; i < run->count; i++)
		read_line(&run->messages[i], &kv->limits, &calls[i], &words[i]);
	engine->ops->prepare(engine, calls, run->count);
	while (run->consumed < run->count && replies->unsent <= replies->high &&
	       verdict == VERDICT_CONTINUE && client->listing == NULL)
		verdict = serve(stream, client, &calls[run->consumed++], replies);
	if (verdict == VERDICT_WAIT &&
	    !kv_login_keep(&client->login, &run->messages[run->consumed - 1]))
		verdict = VERDICT_ABORT;
	for (size_t i = 0; i < run->count; i++)
		if (words[i] != NULL)
			free(words[i]);
	run->unfinished = client->listing != NULL;
	return verdict;
}

static bool kv_lines_busy(struct stream *stream)
{
	const struct kv_client *client = stream_state(stream);

	return client->listing != NULL || kv_login_is_pending(&client->login);
}

static void kv_lines_close(struct stream *stream)
{
	struct kv_client *client = stream_state(stream);
	struct kv *kv = stream_instance(stream)->state;

	kv_listing_free(kv, client->listing);
	kv_login_close(kv, &client->login);
}

static enum verdict kv_lines_open(struct stream *stream, struct evbuffer *out)
{
	struct kv_client *client = stream_state(stream);

	kv_login_open(stream, &client->login);
	return evbuffer_add(out, "READY\n", 6) == -1 ? VERDICT_ABORT : VERDICT_CONTINUE;
}

static const struct refusals refusals = {
	.over_limit = "ERROR: too many connections\n",
	.long_line = "ERROR: line too long\n",
	.sniffed = SNIFFED_TEXTS("ERROR: this is the echod key-value port, not ", "\n"),
};

const struct handlers kv_lines_handlers = {
	.conn_size = sizeof(struct kv_client),
	.framing = &framing_lines,
	.refusals = &refusals,
	.failure = kv_words_failure,
	.resp = &kv_resp_handlers,
	.open = kv_lines_open,
	.messages = kv_lines_messages,
	.busy = kv_lines_busy,
	.close = kv_lines_close,
	.user = kv_user,
};
