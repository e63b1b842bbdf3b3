/*
 * The kv service in RESP: requests become calls; resp_words.c makes replies of the results. Requests that have arrived
 * together are served in three steps, as lines are: see kv_lines.c.
 */
#include "services/kv_resp.h"

#include <event2/buffer.h>
#include <stdlib.h>

#include "kv/engine.h"
#include "kv/verb.h"
#include "net/frame_resp.h"
#include "net/instance.h"
#include "net/replies.h"
#include "net/stream.h"
#include "services/kv.h"
#include "services/kv_listing.h"
#include "services/resp_mailbox.h"
#include "services/resp_pubsub.h"
#include "services/resp_request.h"
#include "services/resp_transaction.h"
#include "services/resp_words.h"

/* Words of a run that need no memory of their own. */
#define POOLED_WORDS 256

/* A web page can make a browser send us requests. As Redis does, the service closes such a connection unserved. */
static bool is_http(struct slice name)
{
	return verb_is_word(name, "POST") || verb_is_word(name, "Host:");
}

/* The words of a run's calls. */
struct pool {
	struct slice words[POOLED_WORDS];
	size_t used;
};

/* Makes a call of a request. *words is memory that the call needs, or NULL. */
static void read_request(const struct kv *kv, const struct message *request, struct pool *pool,
    struct call *call, struct slice **words)
{
	const char *at;
	size_t count = resp_words(request, &at) - 1;
	const struct command *command = command_index_find(&kv->redis, resp_word(&at));
	struct slice *to = pool->words + pool->used;

	*words = NULL;
	if (command == NULL) {
		call->command = NULL;
		call->status = KV_UNKNOWN;
		return;
	}
	if (count > POOLED_WORDS - pool->used) {
		to = *words = malloc(count * sizeof(*to));
		if (to == NULL) {
			call->command = command;
			call->status = KV_NO_MEMORY;
			return;
		}
	}
	for (size_t i = 0; i < count; i++)
		to[i] = resp_word(&at);
	command_read(command, to, count, &kv->limits, call);
	if (call->more_count > 0 && *words == NULL)
		pool->used += count;
}

static struct resp_request request_of(
    struct stream *stream, struct resp_client *client, struct replies *replies)
{
	return (struct resp_request){
		.stream = stream,
		.instance = stream_instance(stream),
		.kv = stream_instance(stream)->state,
		.client = client,
		.replies = replies,
		.version = client->is_resp3 ? RESP3 : RESP2,
	};
}

static enum verdict run_local(struct stream *stream, struct resp_client *client,
    const struct command *command, const struct message *message, struct replies *replies)
{
	const struct resp_command *local = (const struct resp_command *)command;
	struct resp_request request = request_of(stream, client, replies);

	request.command = command;
	request.words = resp_words(message, &request.at);
	resp_next_word(&request);
	return local->run(&request);
}

static const struct wording *wording_of(const struct resp_client *client)
{
	return client->is_resp3 ? &resp3_words : &resp2_words;
}

static bool is_exec(const struct kv *kv, const struct command *command)
{
	return command == command_index_find(&kv->redis, (struct slice){ "EXEC", 4 });
}

#define EXEC_ABORTS "EXECABORT Transaction discarded because of: "

static enum verdict refuse(struct kv *kv, struct resp_client *client, const struct call *call,
    const struct message *message, struct replies *replies)
{
	const char *at;

	resp_words(message, &at);
	if ((call->status == KV_UNKNOWN || call->status == KV_NOT_AUTHENTICATED) &&
	    is_http(resp_word(&at)))
		return VERDICT_PROTOCOL;
	if (call->status == KV_WRONG_ARGUMENTS && is_exec(kv, call->command)) {
		resp_transaction_free(kv, client);
		resp_error(replies, EXEC_ABORTS "wrong number of arguments for 'exec' command");
		return VERDICT_CONTINUE;
	}
	resp_refusal(replies, call, message);
	return VERDICT_CONTINUE;
}

/* What a script stands for, or the call itself. */
static const struct call *resolve(struct kv *kv, const struct call *call, struct call *script)
{
	if (call->status != KV_OK || !(call->command->flags & COMMAND_SCRIPT))
		return call;
	resp_scripts_call(kv, call, script);
	script->user = call->user;
	if (script->status == KV_OK && call->user != NULL &&
	    !user_may_run(call->user, script->command))
		script->status = KV_NOT_ALLOWED;
	kv->engine->ops->prepare(kv->engine, script, 1);
	return script;
}

/* Between MULTI and EXEC, requests are queued. */
static bool is_queued(
    struct resp_client *client, const struct call *call, const struct message *message)
{
	if (call->status == KV_NOT_ALLOWED || call->status == KV_KEY_NOT_ALLOWED ||
	    resp_is_malformed(call, message)) {
		resp_transaction_abort(client);
		return false;
	}
	return !(call->command->flags & COMMAND_UNQUEUED);
}

/* In RESP2, the client could not tell replies from messages. */
static bool is_out_of_context(
    const struct resp_client *client, const struct call *call, const struct message *message)
{
	return client->mailbox != NULL && !client->is_resp3 && resp_is_subscribed(client) &&
	       !resp_is_malformed(call, message) && !(call->command->flags & COMMAND_SUBSCRIBED);
}

static enum verdict refuse_out_of_context(struct kv *kv, struct resp_client *client,
    const struct command *command, const struct message *message, struct replies *replies)
{
	bool exec = is_exec(kv, command);
	struct slice within = { "", 0 };
	char name[RESP_NAME_MAX];
	const char *at;

	if (resp_words(message, &at) > 1 && command->flags & COMMAND_PARENT) {
		resp_word(&at);
		within = resp_word(&at);
	}
	resp_write_name(command, within, name);
	if (exec)
		resp_transaction_free(kv, client);
	resp_errorf(replies,
	    "%sCan't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET "
	    "are allowed in this context",
	    exec ? EXEC_ABORTS : "ERR ", name);
	return VERDICT_CONTINUE;
}

/* Runs a call, or queues it, or replies why not. */
static enum verdict serve(struct stream *stream, struct resp_client *client, struct call *request,
    const struct message *message, struct replies *replies)
{
	const struct call *call = request;
	struct call script;

	client->command = call->command;
	client->within = NULL;
	kv_restrict(stream_instance(stream)->state, &client->shared, request);
	if (call->status == KV_NOT_AUTHENTICATED)
		return refuse(stream_instance(stream)->state, client, call, message, replies);
	if (is_out_of_context(client, call, message))
		return refuse_out_of_context(
		    stream_instance(stream)->state, client, call->command, message, replies);
	if (client->queues && is_queued(client, call, message)) {
		resp_transaction_queue(client, message, replies);
		return VERDICT_CONTINUE;
	}
	call = resolve(stream_instance(stream)->state, call, &script);
	if (call->status != KV_OK)
		return refuse(stream_instance(stream)->state, client, call, message, replies);
	if (call->command->flags & COMMAND_LOCAL)
		return run_local(stream, client, call->command, message, replies);
	client->shared.listing = kv_run(stream_instance(stream), call, wording_of(client), replies);
	return VERDICT_CONTINUE;
}

enum verdict kv_resp_run(
    struct stream *stream, const struct message *message, struct replies *replies, uint64_t *commit)
{
	struct resp_client *client = stream_state(stream);
	struct instance *instance = stream_instance(stream);
	struct kv *kv = instance->state;
	enum verdict verdict = VERDICT_CONTINUE;
	struct pool pool;
	struct kv_result result;
	struct slice *words;
	struct call request, script;
	const struct call *call;

	pool.used = 0;
	read_request(kv, message, &pool, &request, &words);
	kv->engine->ops->prepare(kv->engine, &request, 1);
	kv_restrict(kv, &client->shared, &request);
	call = resolve(kv, &request, &script);
	if (call->status != KV_OK) {
		verdict = refuse(kv, client, call, message, replies);
	} else if (call->command->flags & COMMAND_LOCAL) {
		verdict = run_local(stream, client, call->command, message, replies);
	} else {
		kv_submit(instance, call, &result);
		if (result.commit > *commit)
			*commit = result.commit;
		result.commit = 0;
		wording_of(client)->result(replies, call, &result);
	}
	free(words);
	return verdict;
}

/* Collects replies that the client does not want, and drops them. */
struct sink {
	struct replies replies;
	struct evbuffer *dropped;
	struct promises *promises;
};

/* 0, or -1 when out of memory. */
static int sink_open(struct sink *sink)
{
	sink->promises = NULL;
	sink->dropped = evbuffer_new();
	if (sink->dropped == NULL)
		return -1;
	replies_begin(&sink->replies, sink->dropped, &sink->promises);
	return 0;
}

static void sink_close(struct sink *sink)
{
	replies_flush(&sink->replies);
	promises_free(sink->promises);
	evbuffer_free(sink->dropped);
}

/* As serve() for a client that wants no reply, or not this one. */
static enum verdict serve_silently(struct stream *stream, struct resp_client *client,
    struct call *call, const struct message *message)
{
	bool skips = client->skips_next;
	enum verdict verdict;
	struct sink sink;

	if (sink_open(&sink) == -1)
		return VERDICT_ABORT;
	client->skips_next = false;
	client->is_dropped = true;
	verdict = serve(stream, client, call, message, &sink.replies);
	client->is_dropped = false;
	if (verdict == VERDICT_WAIT)
		client->skips_next = skips;
	client->drops_rest = client->shared.listing != NULL || client->continues;
	sink_close(&sink);
	return verdict;
}

/* Serves with or without a reply. */
static enum verdict serve_as_wanted(struct stream *stream, struct resp_client *client,
    struct call *call, const struct message *message, struct replies *replies)
{
	return client->silent || client->skips_next ? serve_silently(stream, client, call, message)
						    : serve(stream, client, call, message, replies);
}

/* Serves a login that has waited. */
static enum verdict serve_kept(struct stream *stream, struct resp_client *client,
    struct message *message, struct replies *replies)
{
	struct kv *kv = stream_instance(stream)->state;
	enum verdict verdict;
	struct slice *words;
	struct pool pool;
	struct call call;

	pool.used = 0;
	client->replies = replies;
	read_request(kv, message, &pool, &call, &words);
	verdict = serve_as_wanted(stream, client, &call, message, replies);
	client->replies = NULL;
	free(words);
	if (verdict == VERDICT_WAIT && !kv_login_keep(&client->shared.login, message))
		verdict = VERDICT_ABORT;
	kv_login_free_message(message);
	return verdict;
}

/* Runs the next part of a request that is run in parts. */
static enum verdict continue_listing(struct kv *kv, struct resp_client *client, struct run *run)
{
	struct sink sink;

	if (!client->drops_rest) {
		run->unfinished = kv_listing_continue(kv, &client->shared.listing, run->replies);
	} else if (sink_open(&sink) == 0) {
		run->unfinished = kv_listing_continue(kv, &client->shared.listing, &sink.replies);
		sink_close(&sink);
	} else {
		return VERDICT_ABORT;
	}
	if (!run->unfinished) {
		client->drops_rest = false;
		if (client->mailbox != NULL)
			mailbox_empty(client->mailbox, run->replies);
	}
	return VERDICT_CONTINUE;
}

/* Runs the next part of a command about subscriptions. 0, or -1 when out of memory. */
static int continue_subscribing(
    struct stream *stream, struct resp_client *client, struct replies *replies)
{
	struct resp_request request = request_of(stream, client, replies);
	struct sink sink;

	if (!client->drops_rest) {
		resp_pubsub_continue(&request);
		return 0;
	}
	if (sink_open(&sink) == -1)
		return -1;
	request.replies = &sink.replies;
	resp_pubsub_continue(&request);
	client->drops_rest = client->continues;
	sink_close(&sink);
	return 0;
}

static enum verdict kv_resp_messages(struct stream *stream, struct run *run)
{
	struct resp_client *client = stream_state(stream);
	struct instance *instance = stream_instance(stream);
	struct kv *kv = instance->state;
	struct replies *replies = run->replies;
	enum verdict verdict = VERDICT_CONTINUE;
	struct call calls[RUN_MAX];
	struct slice *words[RUN_MAX];
	struct message kept;
	struct pool pool;

	if (kv_login_take(&client->shared.login, &kept))
		return serve_kept(stream, client, &kept, replies);
	if (client->shared.listing != NULL)
		return continue_listing(kv, client, run);
	if (client->mailbox != NULL)
		mailbox_empty(client->mailbox, replies);
	client->replies = replies;
	client->yields = false;
	kv->pubsub_cost = 0;
	if (client->continues && continue_subscribing(stream, client, replies) == -1)
		return VERDICT_ABORT;
	pool.used = 0;
	for (size_t i = 0; i < run->count; i++)
		read_request(kv, &run->messages[i], &pool, &calls[i], &words[i]);
	kv->engine->ops->prepare(kv->engine, calls, run->count);
	while (run->consumed < run->count && replies->unsent <= replies->high &&
	       verdict == VERDICT_CONTINUE && client->shared.listing == NULL && !client->yields &&
	       !client->continues) {
		size_t n = run->consumed++;

		verdict = serve_as_wanted(stream, client, &calls[n], &run->messages[n], replies);
		if (client->leaves && verdict == VERDICT_CONTINUE)
			verdict = VERDICT_CLOSE;
	}
	if (verdict == VERDICT_WAIT &&
	    !kv_login_keep(&client->shared.login, &run->messages[run->consumed - 1]))
		verdict = VERDICT_ABORT;
	kv->requests += run->consumed;
	for (size_t i = 0; i < run->count; i++)
		if (words[i] != NULL)
			free(words[i]);
	client->replies = NULL;
	run->unfinished = client->shared.listing != NULL || client->yields || client->continues;
	return verdict;
}

static bool kv_resp_busy(struct stream *stream)
{
	const struct resp_client *client = stream_state(stream);

	return client->shared.listing != NULL || resp_is_subscribed(client) ||
	       kv_login_is_pending(&client->shared.login);
}

static void kv_resp_close(struct stream *stream)
{
	struct resp_client *client = stream_state(stream);
	struct kv *kv = stream_instance(stream)->state;

	kv_listing_free(kv, client->shared.listing);
	kv_login_close(kv, &client->shared.login);
	resp_transaction_free(kv, client);
	resp_pubsub_leave(kv, client);
	resp_names_free(client->names);
}

static enum verdict kv_resp_open(struct stream *stream, struct evbuffer *out)
{
	struct resp_client *client = stream_state(stream);

	(void)out;
	kv_login_open(stream, &client->shared.login);
	return VERDICT_CONTINUE;
}

static const struct refusals refusals = {
	.over_limit = "-ERR max number of clients reached\r\n",
	.sniffed = { [PROTOCOL_TLS] = "-ERR Protocol error: TLS is not spoken here\r\n" },
};

const struct handlers kv_resp_handlers = {
	.conn_size = sizeof(struct resp_client),
	.framing = &framing_resp,
	.refusals = &refusals,
	.failure = resp_words_failure,
	.open = kv_resp_open,
	.messages = kv_resp_messages,
	.busy = kv_resp_busy,
	.close = kv_resp_close,
	.user = kv_user,
};
