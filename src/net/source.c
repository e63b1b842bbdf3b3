/* A balanced tree (tsearch) of networks; a network without clients has no node. */
#include "net/source.h"

#include <errno.h>
#include <netinet/in.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "net/peer.h"

struct source {
	struct in6_addr network;
	bool site;
	int64_t clients;
};

/* The nodes in which a peer is counted. */
struct keys {
	struct source items[2]; /* its network, its site */
	int count;
};

static int source_compare(const void *a, const void *b)
{
	const struct source *x = a, *y = b;

	if (x->site != y->site)
		return x->site ? 1 : -1;
	return memcmp(&x->network, &y->network, sizeof(x->network));
}

static struct keys keys_of(const struct sources *sources, const struct peer *peer)
{
	struct keys keys = { .count = 0 };
	struct source *own = &keys.items[0], *site = &keys.items[1];

	if (!peer_is_ip(peer))
		return keys;
	own->network = site->network = peer->key;
	prefixes_mask(&sources->prefixes, &own->network);
	site->site = site_mask(&sources->prefixes, &site->network);
	keys.count = site->site ? 2 : 1;
	return keys;
}

static struct source *find_source(const struct sources *sources, const struct source *key)
{
	struct source **node = tfind(key, &sources->tree, source_compare);

	return node == NULL ? NULL : *node;
}

static int64_t max_of(const struct source *source, int64_t max)
{
	return source->site ? SITE_SHARES * max : max;
}

static void remove_one(struct sources *sources, const struct source *key)
{
	struct source *source = find_source(sources, key);

	if (source == NULL || --source->clients > 0)
		return;
	tdelete(source, &sources->tree, source_compare);
	free(source);
}

int source_enter(struct sources *sources, const struct peer *peer, int64_t max)
{
	struct keys keys = keys_of(sources, peer);
	int i;

	for (i = 0; i < keys.count; i++) {
		struct source *source = find_source(sources, &keys.items[i]);

		if (source != NULL && source->clients >= max_of(source, max)) {
			errno = EDQUOT;
			break;
		}
		if (source == NULL) {
			if ((source = malloc(sizeof(*source))) == NULL)
				break;
			*source = keys.items[i];
			if (tsearch(source, &sources->tree, source_compare) == NULL) {
				free(source);
				errno = ENOMEM;
				break;
			}
		}
		source->clients++;
	}
	if (i == keys.count)
		return 0;
	while (i-- > 0)
		remove_one(sources, &keys.items[i]);
	return -1;
}

void source_leave(struct sources *sources, const struct peer *peer)
{
	struct keys keys = keys_of(sources, peer);

	for (int i = 0; i < keys.count; i++)
		remove_one(sources, &keys.items[i]);
}

void sources_clear(struct sources *sources)
{
	tdestroy(sources->tree, free);
	sources->tree = NULL;
}

struct source_count source_count(
    const struct sources *sources, const struct peer *peer, int64_t max)
{
	struct keys keys = keys_of(sources, peer);
	struct source_count count = { .now = 0, .max = max };

	for (int i = 0; i < keys.count; i++) {
		const struct source *source = find_source(sources, &keys.items[i]);

		if (source != NULL && (i == 0 || source->clients >= max_of(source, max)))
			count = (struct source_count){ source->clients, max_of(source, max),
				source->site };
	}
	return count;
}
