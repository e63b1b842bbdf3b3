/*
 * Rates of sources: how often a network has been served lately, against a limit a second. The table is of fixed
 * size: nothing is allocated for a source, and no stranger can make it grow.
 */
#ifndef ECHOD_NET_RATE_H
#define ECHOD_NET_RATE_H

#include <netinet/in.h>
#include <stdint.h>

#include "core/siphash.h"
#include "net/access.h"

#define RATE_WAYS 8
#define RATE_SETS 512

/*
 * What a source has been served, as time: at its rate each time takes so long, and `paid` is when the last of
 * them is over (GCRA, the virtual scheduling algorithm of ITU-T I.371).
 */
struct rate_bucket {
	uint64_t source; /* a keyed hash of the prefix; 0 = nobody's */
	int64_t paid;    /* ns */
};

struct rates {
	struct siphash_key key;
	struct rate_bucket buckets[RATE_SETS * RATE_WAYS];
};

struct rate_limit {
	int64_t per_second; /* of one source, 1 to 10^9 */
	int64_t burst;      /* so many at once; per_second or more */
	const struct prefixes *prefixes;
};

/* What it costs to serve a source once: its own network, and of an IPv6 source its /48, see SITE_SHARES. */
struct rate_charges {
	struct rate_charge {
		uint64_t source;
		int64_t cost;  /* ns */
		int64_t burst; /* ns */
	} items[2];
	int count; /* 0 = nothing */
};

/* Makes a zeroed table ready. 0, or -1 with the errno of getrandom(2). */
int rates_init(struct rates *rates);
/* One to be freed with free(3); NULL with errno ENOMEM or that of getrandom(2). */
struct rates *rates_new(void);

void rates_charges(const struct rates *rates, const struct rate_limit *limit,
    const struct in6_addr *host, struct rate_charges *charges);

/* How long until the source may be served once more, in ns; 0 = now. */
int64_t rates_wait(const struct rates *rates, const struct rate_charges *charges, int64_t now_ms);

/* It has been served: `times` of them, which may be more than the limit had left. */
void rates_pay(
    struct rates *rates, const struct rate_charges *charges, int64_t times, int64_t now_ms);

#endif
