/* A balanced tree (tsearch) of the addresses that are here now; an address without clients has no node. */
#include "net/source.h"

#include <errno.h>
#include <netinet/in.h>
#include <search.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "net/access.h"

struct source {
	struct in6_addr address;
	int64_t clients;
};

static int compare(const void *a, const void *b)
{
	const struct source *x = a, *y = b;

	return memcmp(&x->address, &y->address, sizeof(x->address));
}

/* A host has a whole /64 of IPv6 addresses to itself: it counts as one. */
static bool source_key(struct source *key, const struct sockaddr *peer)
{
	if (!network_key(peer, &key->address))
		return false;
	if (!IN6_IS_ADDR_V4MAPPED(&key->address))
		memset(&key->address.s6_addr[8], 0, 8);
	return true;
}

int source_enter(struct sources *sources, const struct sockaddr *peer, int64_t max)
{
	struct source key, *source;
	struct source **node;

	if (!source_key(&key, peer))
		return 0;
	node = tfind(&key, &sources->tree, compare);
	if (node != NULL) {
		if ((*node)->clients >= max) {
			errno = EDQUOT;
			return -1;
		}
		(*node)->clients++;
		return 0;
	}
	if ((source = malloc(sizeof(*source))) == NULL)
		return -1;
	source->address = key.address;
	source->clients = 1;
	if (tsearch(source, &sources->tree, compare) == NULL) {
		free(source);
		errno = ENOMEM;
		return -1;
	}
	return 0;
}

void source_leave(struct sources *sources, const struct sockaddr *peer)
{
	struct source key, *source;
	struct source **node;

	if (!source_key(&key, peer) || (node = tfind(&key, &sources->tree, compare)) == NULL)
		return;
	source = *node;
	if (--source->clients > 0)
		return;
	tdelete(source, &sources->tree, compare);
	free(source);
}

int64_t source_count(const struct sources *sources, const struct sockaddr *peer)
{
	struct source key, **node;

	if (!source_key(&key, peer))
		return 0;
	node = tfind(&key, &sources->tree, compare);
	return node == NULL ? 0 : (*node)->clients;
}
