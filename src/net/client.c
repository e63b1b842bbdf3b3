/* Two rings, read from the newest entry back. */
#include "net/client.h"

#include <stddef.h>

struct client *recent_clients_add(struct recent_clients *recent, bool refused)
{
	uint64_t place = recent->refused % RECENT_REFUSED;

	if (refused) {
		recent->before[place] = recent->count;
		recent->refused++;
		return &recent->refused_ring[place];
	}
	return &recent->ring[recent->count++ % RECENT_CLIENTS];
}

const struct client *recent_clients_next(
    const struct recent_clients *recent, struct recent_clients_iterator *walk)
{
	bool any = walk->seen < recent->count && walk->seen < RECENT_CLIENTS;
	bool any_refused =
	    walk->seen_refused < recent->refused && walk->seen_refused < RECENT_REFUSED;
	uint64_t next = (recent->refused - 1 - walk->seen_refused) % RECENT_REFUSED;

	if (any_refused && (!any || recent->before[next] >= recent->count - walk->seen)) {
		walk->seen_refused++;
		return &recent->refused_ring[next];
	}
	return any ? &recent->ring[(recent->count - 1 - walk->seen++) % RECENT_CLIENTS] : NULL;
}
