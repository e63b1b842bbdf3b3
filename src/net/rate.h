/*
 * Rate limits per source network. The table has a fixed size: nothing is allocated for a source, and an attacker
 * cannot make it grow.
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
 * GCRA, the virtual scheduling algorithm of ITU-T I.371: each service of a source takes the inverse of its rate, and
 * `paid` is the theoretical arrival time, when the last one is over.
 */
struct rate_bucket {
	uint64_t source; /* a keyed hash of the prefix; 0 = free */
	int64_t paid;    /* ns */
};

struct rates {
	struct siphash_key key;
	struct rate_bucket buckets[RATE_SETS * RATE_WAYS];
};

struct rate_limit {
	int64_t per_second; /* of one source, 1 to 10^9 */
	int64_t burst;      /* how many at once after a pause; per_second or more */
	const struct prefixes *prefixes;
};

/* What serving a source once costs: charged to its network and, for IPv6, to its /48, see SITE_SHARES. */
struct rate_charges {
	struct rate_charge {
		uint64_t source;
		int64_t cost;  /* ns */
		int64_t burst; /* ns */
	} items[2];
	int count; /* 0 = the source is exempt */
};

/* Gives a zeroed table its key. 0, or -1 with the errno of getrandom(2). */
int rates_init(struct rates *rates);
/* Allocates a table; free it with free(3). NULL with errno ENOMEM or that of getrandom(2). */
struct rates *rates_new(void);

/* Fills in what one service of the host (a sockaddr_key()) costs under the limit. */
void rates_charges(const struct rates *rates, const struct rate_limit *limit,
    const struct in6_addr *host, struct rate_charges *charges);

/* How long until the source may be served once more, in ns; 0 = now. */
int64_t rates_wait(const struct rates *rates, const struct rate_charges *charges, int64_t now_ms);

/* Charges the source for `times` services, which may be more than the limit still allows. */
void rates_pay(
    struct rates *rates, const struct rate_charges *charges, int64_t times, int64_t now_ms);

#endif
