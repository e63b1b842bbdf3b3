/*
 * A listing owns copies of its call and of the items that it has collected. They are limited for all listings of an
 * instance together, so that many clients with KEYS do not exhaust the memory. If a commit fails that a listing rests
 * on, the reply is the error, for the whole list or for the items that rest on it.
 */
#include "services/kv_listing.h"

#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "kv/engine.h"
#include "kv/list.h"
#include "net/replies.h"
#include "services/kv.h"
#include "services/kv_wording.h"

#define PART_PAUSE_US 100              /* between two parts of an instance, for the other clients */
#define LISTED_MAX ((size_t)256 << 20) /* bytes that all listings of an instance may collect */

struct listing {
	LIST_ENTRY(listing) entry; /* in kv->listings */
	struct call call;          /* of the next part; its bytes are behind the struct */
	const struct wording *wording;
	struct evbuffer *items; /* collected */
	size_t count;           /* items so far */
	size_t length;          /* of the list, if the reply has begun with it */
	uint64_t commit;        /* that what was collected rests on */
	bool failed;            /* that commit has */
	bool refused;           /* see kv_listing_refuse() */
	bool complete;          /* all parts are collected, */
	bool begun;             /* and the reply has begun */
	struct slice more[];
};

/* Copies the bytes to *to, and advances it. */
static struct slice copy_slice(char **to, struct slice from)
{
	struct slice copy = { *to, from.length };

	if (from.length > 0)
		memcpy(*to, from.bytes, from.length);
	*to += from.length;
	return copy;
}

struct listing *kv_listing_new(
    struct kv *kv, const struct call *call, const struct wording *wording)
{
	size_t length = call->key.length;
	struct listing *listing;
	char *bytes;

	for (size_t i = 0; i < call->arg_count; i++)
		length += call->args[i].length;
	for (size_t i = 0; i < call->more_count; i++)
		length += call->more[i].length;
	listing = malloc(sizeof(*listing) + call->more_count * sizeof(struct slice) + length);
	if (listing == NULL)
		return NULL;
	*listing = (struct listing){ .call = *call, .wording = wording, .items = evbuffer_new() };
	if (listing->items == NULL) {
		free(listing);
		return NULL;
	}
	bytes = (char *)&listing->more[call->more_count];
	listing->call.key.bytes =
	    copy_slice(&bytes, (struct slice){ call->key.bytes, call->key.length }).bytes;
	for (size_t i = 0; i < call->arg_count; i++)
		listing->call.args[i] = copy_slice(&bytes, call->args[i]);
	for (size_t i = 0; i < call->more_count; i++)
		listing->more[i] = copy_slice(&bytes, call->more[i]);
	listing->call.more = listing->more;
	LIST_INSERT_HEAD(&kv->listings, listing, entry);
	return listing;
}

void kv_listing_set_user(struct listing *listing, const struct user *user)
{
	listing->call.user = user;
}

void kv_listing_refuse(struct listing *listing)
{
	listing->refused = true;
}

void kv_listing_free(struct kv *kv, struct listing *listing)
{
	if (listing == NULL)
		return;
	LIST_REMOVE(listing, entry);
	kv->listed -= evbuffer_get_length(listing->items);
	evbuffer_free(listing->items);
	free(listing);
}

void kv_listings_fail(struct kv *kv, uint64_t through)
{
	struct listing *listing;

	LIST_FOREACH (listing, &kv->listings, entry)
		if (listing->commit > kv->committed && listing->commit <= through)
			listing->failed = true;
}

/* Adds the items of a part to the reply. If its commit fails, the error takes the place of each of them. */
static void send_part(
    struct listing *listing, const struct kv_result *result, struct replies *replies)
{
	struct list_item item;
	size_t at = 0;

	if (listing->call.from == 0) {
		listing->length = (size_t)result->integer;
		listing->wording->length(replies, listing->length);
	}
	while (list_next(result->list, &at, &item)) {
		if (result->commit != 0)
			replies_promise_begin(replies, result->commit);
		listing->wording->item(replies, &item);
		if (result->commit != 0)
			replies_promise_end(replies);
	}
}

/* 0, or -1 when out of memory. */
static int collect_part(struct kv *kv, struct listing *listing, const struct kv_result *result)
{
	size_t before = evbuffer_get_length(listing->items), at = 0;
	struct promises *none = NULL;
	struct list_item item;
	struct replies items;

	replies_begin(&items, listing->items, &none);
	while (list_next(result->list, &at, &item))
		listing->wording->item(&items, &item);
	replies_flush(&items);
	kv->listed += evbuffer_get_length(listing->items) - before;
	if (result->commit > listing->commit)
		listing->commit = result->commit;
	return items.lost ? -1 : 0;
}

/* A part that has no items: only the result of the last part is replied. */
static bool end_part(
    struct kv *kv, struct listing *listing, struct kv_result *result, struct replies *replies)
{
	if (result->commit > listing->commit)
		listing->commit = result->commit;
	listing->call.from = result->next;
	if (result->next != 0 && !listing->failed)
		return true;
	if (listing->commit > kv->committed)
		result->commit = listing->commit;
	if (listing->failed)
		replies_text(replies, listing->wording->failure);
	else
		listing->wording->result(replies, &listing->call, result);
	return false;
}

/* false: the reply ends with it. */
static bool make_part(struct kv *kv, struct listing *listing, struct replies *replies)
{
	const struct engine_ops *ops = kv->engine->ops;
	struct call *call = &listing->call;
	struct kv_result result;

	ops->prepare(kv->engine, call, 1);
	ops->submit(kv->engine, call, &result);
	if (result.status == KV_OK && result.kind != KV_NOTHING && result.integer == -1 &&
	    collect_part(kv, listing, &result) == -1)
		result = (struct kv_result){ .status = KV_NO_MEMORY };
	if (listing->refused)
		result = (struct kv_result){ .status = KV_NOT_ALLOWED };
	if (result.status == KV_OK && kv->listed > LISTED_MAX)
		result = (struct kv_result){ .status = KV_TOO_MANY_KEYS };
	if (result.status != KV_OK) {
		do /* in place of each item that is left, if the length was sent */
			listing->wording->result(replies, call, &result);
		while (++listing->count < listing->length);
		return false;
	}
	if (result.kind == KV_NOTHING)
		return end_part(kv, listing, &result, replies);
	if (result.integer != -1)
		send_part(listing, &result, replies);
	listing->count += result.list->count;
	listing->complete = result.next == 0;
	call->from = result.next;
	return !listing->complete || result.integer == -1;
}

/* Moves collected items to the reply while it has at most so many bytes. */
static void move_items(struct kv *kv, struct listing *listing, struct replies *replies, size_t most)
{
	char bytes[4096];
	int n;

	while (replies->unsent <= most &&
	       (n = evbuffer_remove(listing->items, bytes, sizeof(bytes))) > 0) {
		replies_add(replies, bytes, (size_t)n);
		kv->listed -= (size_t)n;
	}
}

/*
 * Sends what was collected. If it rests on a commit that is still awaited, the beginning is a promise, so long that no
 * other piece is sent before it is kept: a failure then takes the place of the whole list.
 */
static bool send_collected(struct kv *kv, struct listing *listing, struct replies *replies)
{
	bool begins = !listing->begun, awaited = begins && listing->commit > kv->committed;

	if (listing->failed) {
		if (begins) /* otherwise the promise has replied it */
			replies_text(replies, listing->wording->failure);
		return false;
	}
	listing->begun = true;
	if (awaited)
		replies_promise_begin(replies, listing->commit);
	if (begins)
		listing->wording->length(replies, listing->count);
	move_items(kv, listing, replies, awaited ? replies->unsent + REPLIES_HIGH : REPLIES_HIGH);
	if (awaited)
		replies_promise_end(replies);
	return evbuffer_get_length(listing->items) > 0;
}

/* false: the reply ends with it. */
static bool send_next(struct kv *kv, struct listing *listing, struct replies *replies)
{
	bool more;

	if (listing->complete)
		return send_collected(kv, listing, replies);
	/* libevent calls this function some thirty times before it polls for other clients. */
	if (clock_us() < kv->next_part)
		return true;
	more = make_part(kv, listing, replies);
	kv->next_part = clock_us() + PART_PAUSE_US;
	return more;
}

bool kv_listing_continue(struct kv *kv, struct listing **listing, struct replies *replies)
{
	bool more = send_next(kv, *listing, replies);

	if (!more) {
		kv_listing_free(kv, *listing);
		*listing = NULL;
	}
	return more;
}
