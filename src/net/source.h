/* How many clients each source address has: what max_per_source is held against. */
#ifndef ECHOD_NET_SOURCE_H
#define ECHOD_NET_SOURCE_H

#include <stdint.h>
#include <sys/socket.h>

/* Zeroed = nobody there. */
struct sources {
	void *tree;
};

/*
 * Counts one more client of the peer's address (an IPv6 one counts with its /64) unless that makes more
 * than `max`. 0, or -1 with errno EDQUOT or ENOMEM. A peer without an IP address is not counted.
 */
int source_enter(struct sources *sources, const struct sockaddr *peer, int64_t max);
void source_leave(struct sources *sources, const struct sockaddr *peer);

/* The clients of the peer's address that are here. */
int64_t source_count(const struct sources *sources, const struct sockaddr *peer);

#endif
