/*
 * The keys that transactions watch. Each counts its changes as long as a client watches it; EXEC compares the count with
 * that of WATCH.
 */
#ifndef ECHOD_KV_WATCHES_H
#define ECHOD_KV_WATCHES_H

#include <stddef.h>
#include <stdint.h>

#include "kv/table.h"

struct watch {
	struct watch *next; /* in the same place */
	struct table_key key;
	uint64_t changes; /* since it is watched */
	size_t watchers;
	unsigned char bytes[]; /* of the key */
};

/* Zeroed = empty. */
struct watches {
	size_t count, size; /* places, 0 or a power of two */
	struct watch **places;
};

/* Adds a watcher of the key; watches_remove() is called once for each. NULL when out of memory. */
struct watch *watches_add(struct watches *watches, const struct table_key *key);
void watches_remove(struct watches *watches, struct watch *watch);

/* The key has changed. */
void watches_count(struct watches *watches, const struct table_key *key);

#endif
