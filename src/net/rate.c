/* The table is set-associative and hashed with a secret key, so that an attacker cannot choose a set. */
#include "net/rate.h"

#include <stdlib.h>
#include <string.h>

#define SECOND_NS 1000000000
#define MS_NS 1000000

int rates_init(struct rates *rates)
{
	return siphash_key_random(&rates->key);
}

struct rates *rates_new(void)
{
	struct rates *rates = calloc(1, sizeof(*rates));

	if (rates != NULL && rates_init(rates) == -1) {
		free(rates); /* keeps errno since glibc 2.33 */
		return NULL;
	}
	return rates;
}

static uint64_t source_of(
    const struct rates *rates, const struct in6_addr *prefix, uint8_t prefix_length)
{
	uint8_t key[sizeof(*prefix) + 1];

	memcpy(key, prefix, sizeof(*prefix));
	key[sizeof(*prefix)] = prefix_length;
	return siphash13(&rates->key, key, sizeof(key));
}

void rates_charges(const struct rates *rates, const struct rate_limit *limit,
    const struct in6_addr *host, struct rate_charges *charges)
{
	struct rate_charge *own = &charges->items[0], *site = &charges->items[1];
	struct in6_addr prefix = *host;

	prefixes_mask(limit->prefixes, &prefix);
	own->source = source_of(rates, &prefix, limit->prefixes->ipv6);
	own->cost = (uint32_t)SECOND_NS / (uint32_t)limit->per_second;
	own->burst = limit->burst * own->cost;
	charges->count = 1;
	prefix = *host;
	if (!site_mask(limit->prefixes, &prefix))
		return;
	site->source = source_of(rates, &prefix, SITE_LENGTH);
	site->cost = own->cost / SITE_SHARES;
	site->burst = own->burst;
	charges->count = 2;
}

/*
 * Finds the bucket of the source, or else the bucket of its set that owes least, which the source takes over with
 * its debt. So credit belongs to the bucket and not to the source: an attacker who forges sources to push one out
 * and bring it back gets at most RATE_WAYS times the rate from all buckets of a set. A source that has used up its
 * bucket is the last to be pushed out, so one source alone stays at the rate.
 */
static size_t find_bucket(const struct rates *rates, uint64_t source)
{
	const struct rate_bucket *buckets = rates->buckets;
	size_t first = source % RATE_SETS * RATE_WAYS, least = first;

	for (size_t i = first; i < first + RATE_WAYS; i++) {
		if (buckets[i].source == source)
			return i;
		if (buckets[i].paid < buckets[least].paid)
			least = i;
	}
	return least;
}

int64_t rates_wait(const struct rates *rates, const struct rate_charges *charges, int64_t now_ms)
{
	int64_t longest = 0;

	for (int i = 0; i < charges->count; i++) {
		const struct rate_charge *charge = &charges->items[i];
		int64_t paid = rates->buckets[find_bucket(rates, charge->source)].paid;
		int64_t wait = paid - now_ms * MS_NS - (charge->burst - charge->cost);

		if (wait > longest)
			longest = wait;
	}
	return longest;
}

void rates_pay(
    struct rates *rates, const struct rate_charges *charges, int64_t times, int64_t now_ms)
{
	int64_t now = now_ms * MS_NS;

	for (int i = 0; i < charges->count; i++) {
		const struct rate_charge *charge = &charges->items[i];
		struct rate_bucket *bucket = &rates->buckets[find_bucket(rates, charge->source)];

		bucket->source = charge->source;
		bucket->paid = (bucket->paid > now ? bucket->paid : now) + times * charge->cost;
	}
}
