/* The per-source limit: counts the clients of each source network, for max_per_source. */
#ifndef ECHOD_NET_SOURCE_H
#define ECHOD_NET_SOURCE_H

#include <stdbool.h>
#include <stdint.h>

#include "net/access.h"

struct peer;

/* Zeroed = empty. */
struct sources {
	void *tree;
	struct prefixes prefixes; /* changes only while no client is counted */
};

/* How many clients there are, and how many there may be. */
struct source_count {
	int64_t now, max;
	bool site; /* these are those of the /48, whose limit is reached */
};

/*
 * Counts one more client of the peer's network, and of the /48 of an IPv6 peer, unless that makes more than `max`
 * (SITE_SHARES times as many for the /48). 0, or -1 with errno EDQUOT or ENOMEM. A peer without an IP address is not
 * counted.
 */
int source_enter(struct sources *sources, const struct peer *peer, int64_t max);
void source_leave(struct sources *sources, const struct peer *peer);

/* Forgets all clients. */
void sources_clear(struct sources *sources);

/* The clients of the peer's network, or of its /48 if that one has reached its limit. */
struct source_count source_count(
    const struct sources *sources, const struct peer *peer, int64_t max);

#endif
