/*
 * A listing: the reply to a request that is run in parts, KEYS, a long MGET or FLUSHDB. It belongs to its client's
 * connection; the client's next request waits until it has ended. Each part is made in a turn of its own, so that other
 * clients are served in between, and none while the client has much output to read.
 *
 * If the length of the list is known, the items are sent as they are made. Otherwise the listing collects them first,
 * because the length precedes them.
 */
#ifndef ECHOD_SERVICES_KV_LISTING_H
#define ECHOD_SERVICES_KV_LISTING_H

#include <stdbool.h>
#include <stdint.h>

struct call;
struct kv;
struct listing;
struct replies;
struct user;
struct wording;

/* A listing for that call, whose bytes it copies, with nothing replied yet. NULL when out of memory. */
struct listing *kv_listing_new(
    struct kv *kv, const struct call *call, const struct wording *wording);
/* Its next parts are for that user (NULL = there are no users). */
void kv_listing_set_user(struct listing *listing, const struct user *user);
/* Its next part is an error, because its client may do less than before. */
void kv_listing_refuse(struct listing *listing);
/* NULL is fine. */
void kv_listing_free(struct kv *kv, struct listing *listing);

/*
 * Makes the next part, unless it is too early for one, or sends the next piece. false: the reply is complete, perhaps by
 * an error; the listing is freed, and *listing NULL.
 */
bool kv_listing_continue(struct kv *kv, struct listing **listing, struct replies *replies);

/* Commits that were not reported as made, up to this one, have failed. */
void kv_listings_fail(struct kv *kv, uint64_t through);

#endif
