/*
 * Requests are queued as they have come, and read again when they run: between MULTI and EXEC an array of words takes the
 * least memory. The replies are gathered before the first of them is sent, since all of them rest on one commit.
 */
#include "services/resp_transaction.h"

#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "kv/command.h"
#include "kv/engine.h"
#include "net/framing.h"
#include "net/replies.h"
#include "services/kv.h"
#include "services/kv_resp.h"
#include "services/resp_request.h"
#include "services/resp_words.h"

#define QUEUED_MAX ((size_t)64 << 20)    /* bytes of requests */
#define GATHERED_MAX ((size_t)512 << 10) /* bytes of replies, or the client ends as a slow reader */
#define WATCHED_MAX (65536 * sizeof(struct watched))

struct watched {
	struct watch *watch;
	uint64_t changes; /* when the client began to watch it */
};

struct transaction {
	struct buffer queue;   /* each request behind its length, a size_t */
	size_t count;          /* of them */
	bool aborted;          /* one was refused */
	struct buffer watched; /* each a struct watched */
};

static struct transaction *get_transaction(struct resp_client *client)
{
	if (client->transaction == NULL)
		client->transaction = calloc(1, sizeof(*client->transaction));
	return client->transaction;
}

static size_t watched_of(const struct transaction *transaction, struct watched **watched)
{
	*watched = (struct watched *)transaction->watched.bytes;
	return transaction->watched.length / sizeof(**watched);
}

/* NULL is fine. */
static void transaction_free(struct kv *kv, struct transaction *transaction)
{
	struct watched *watched;
	size_t count;

	if (transaction == NULL)
		return;
	count = watched_of(transaction, &watched);
	for (size_t i = 0; i < count; i++)
		kv->engine->ops->unwatch(kv->engine, watched[i].watch);
	free(watched);
	free(transaction->queue.bytes);
	free(transaction);
}

/* The client has none any more, the caller has it. */
static struct transaction *detach(struct resp_client *client)
{
	struct transaction *transaction = client->transaction;

	client->queues = false;
	client->transaction = NULL;
	return transaction;
}

void resp_transaction_free(struct kv *kv, struct resp_client *client)
{
	transaction_free(kv, detach(client));
}

/* --- watched keys --- */

enum verdict resp_run_watch(struct resp_request *r)
{
	const struct engine_ops *ops = r->kv->engine->ops;
	struct transaction *transaction = get_transaction(r->client);
	struct watched *watched;

	if (r->client->queues)
		return resp_fail(r, "ERR WATCH inside MULTI is not allowed");
	if (ops->state(r->kv->engine, NULL) == ENGINE_LOADING)
		return resp_fail_status(r, KV_LOADING);
	while (r->words > 0) {
		/* A key that is watched twice counts twice: to look for it would take long. */
		if (transaction != NULL && transaction->watched.length == WATCHED_MAX)
			return resp_fail(r, "ERR too many watched keys");
		if (transaction == NULL ||
		    (watched = buffer_room(&transaction->watched, sizeof(*watched))) == NULL)
			return resp_fail_status(r, KV_NO_MEMORY);
		watched->watch = ops->watch(r->kv->engine, resp_next_word(r), &watched->changes);
		if (watched->watch == NULL)
			return resp_fail_status(r, KV_NO_MEMORY);
		transaction->watched.length += sizeof(*watched);
	}
	return resp_ok(r);
}

enum verdict resp_run_unwatch(struct resp_request *r)
{
	resp_transaction_free(r->kv, r->client);
	return resp_ok(r);
}

static bool watched_have_changed(struct kv *kv, const struct transaction *transaction)
{
	struct watched *watched;
	size_t count = watched_of(transaction, &watched);

	for (size_t i = 0; i < count; i++)
		if (kv->engine->ops->has_changed(kv->engine, watched[i].watch, watched[i].changes))
			return true;
	return false;
}

/* --- the queue --- */

enum verdict resp_run_multi(struct resp_request *r)
{
	if (r->client->queues)
		return resp_fail(r, "ERR MULTI calls can not be nested");
	if (get_transaction(r->client) == NULL)
		return resp_fail_status(r, KV_NO_MEMORY);
	r->client->queues = true;
	return resp_ok(r);
}

enum verdict resp_run_discard(struct resp_request *r)
{
	if (!r->client->queues)
		return resp_fail(r, "ERR DISCARD without MULTI");
	resp_transaction_free(r->kv, r->client);
	return resp_ok(r);
}

/* 0, or -1 when out of memory. */
static int add_request(struct transaction *transaction, const struct message *message)
{
	struct buffer *queue = &transaction->queue;

	if (buffer_room(queue, sizeof(message->length) + message->length) == NULL)
		return -1;
	buffer_add(queue, &message->length, sizeof(message->length));
	buffer_add(queue, message->bytes, message->length);
	transaction->count++;
	return 0;
}

void resp_transaction_queue(
    struct resp_client *client, const struct message *message, struct replies *replies)
{
	struct transaction *transaction = client->transaction;

	bool fits = transaction->queue.length + message->length <= QUEUED_MAX;

	if (fits && add_request(transaction, message) == 0) {
		resp_status(replies, "QUEUED");
		return;
	}
	resp_transaction_abort(client);
	if (fits)
		resp_status_error(replies, KV_NO_MEMORY);
	else
		resp_error(replies, "ERR transaction too large");
}

int64_t resp_transaction_queued(const struct resp_client *client, size_t *bytes)
{
	*bytes = client->queues ? client->transaction->queue.length : 0;
	return client->queues ? (int64_t)client->transaction->count : -1;
}

void resp_transaction_abort(struct resp_client *client)
{
	client->transaction->aborted = true;
}

/* --- EXEC --- */

/* Runs the queued requests, and gathers their replies. Returns the commit that they rest on, 0 = none. */
static uint64_t run_queue(struct resp_request *r, struct transaction *transaction,
    struct replies *gathered, enum verdict *verdict)
{
	struct buffer *queue = &transaction->queue;
	uint64_t commit = 0;
	size_t at = 0;

	resp_array(gathered, transaction->count);
	while (at < queue->length && *verdict == VERDICT_CONTINUE) {
		struct message message = { 0 };

		memcpy(&message.length, queue->bytes + at, sizeof(message.length));
		message.bytes = queue->bytes + at + sizeof(message.length);
		at += sizeof(message.length) + message.length;
		if (gathered->unsent > GATHERED_MAX)
			resp_error(gathered, "ERR replies of a transaction too large");
		else
			*verdict = kv_resp_run(r->stream, &message, gathered, &commit);
	}
	return commit;
}

/* Moves the gathered replies to the client, who gets them when the commit is made. */
static void send_gathered(struct evbuffer *from, uint64_t commit, struct replies *replies)
{
	char bytes[4096];
	int n;

	if (commit != 0)
		replies_promise_begin(replies, commit);
	while ((n = evbuffer_remove(from, bytes, sizeof(bytes))) > 0)
		replies_add(replies, bytes, (size_t)n);
	if (commit != 0)
		replies_promise_end(replies);
}

static enum verdict run_transaction(struct resp_request *r, struct transaction *transaction)
{
	struct engine *engine = r->kv->engine;
	enum verdict verdict = VERDICT_CONTINUE;
	struct promises *promises = NULL;
	struct replies gathered;
	struct evbuffer *out = evbuffer_new();
	uint64_t commit;

	if (out == NULL)
		return resp_fail_status(r, KV_NO_MEMORY);
	replies_begin(&gathered, out, &promises);
	/* Messages that the client publishes to itself are between the replies, unless it wants no replies. */
	if (r->replies == r->client->replies)
		r->client->replies = &gathered;
	engine->ops->transact(engine, true);
	r->client->executes = true;
	commit = run_queue(r, transaction, &gathered, &verdict);
	r->client->executes = false;
	engine->ops->transact(engine, false);
	if (r->client->replies == &gathered)
		r->client->replies = r->replies;
	replies_flush(&gathered);
	send_gathered(out, commit, r->replies);
	r->replies->lost |= gathered.lost;
	evbuffer_free(out);
	return verdict;
}

enum verdict resp_run_exec(struct resp_request *r)
{
	struct transaction *transaction;
	enum verdict verdict = VERDICT_CONTINUE;

	if (!r->client->queues)
		return resp_fail(r, "ERR EXEC without MULTI");
	transaction = detach(r->client);
	if (transaction->aborted)
		resp_error(
		    r->replies, "EXECABORT Transaction discarded because of previous errors.");
	else if (watched_have_changed(r->kv, transaction))
		resp_null_array(r->replies, r->version);
	else
		verdict = run_transaction(r, transaction);
	transaction_free(r->kv, transaction);
	return verdict;
}
