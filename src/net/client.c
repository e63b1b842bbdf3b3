/* Two rings, read from the newest entry back. */
#include "net/client.h"

#include <stddef.h>

struct client *recent_clients_add(struct recent_clients *left, bool refused)
{
	uint64_t place = left->refused % RECENT_REFUSED;

	if (refused) {
		left->before[place] = left->count;
		left->refused++;
		return &left->refused_ring[place];
	}
	return &left->ring[left->count++ % RECENT_CLIENTS];
}

const struct client *recent_clients_next(
    const struct recent_clients *left, struct recent_clients_iterator *walk)
{
	bool any = walk->seen < left->count && walk->seen < RECENT_CLIENTS;
	bool any_refused =
	    walk->seen_refused < left->refused && walk->seen_refused < RECENT_REFUSED;
	uint64_t next = (left->refused - 1 - walk->seen_refused) % RECENT_REFUSED;

	if (any_refused && (!any || left->before[next] >= left->count - walk->seen)) {
		walk->seen_refused++;
		return &left->refused_ring[next];
	}
	return any ? &left->ring[(left->count - 1 - walk->seen++) % RECENT_CLIENTS] : NULL;
}
