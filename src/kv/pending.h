/* Keys that have been changed by commits that are not settled, and by which. */
#ifndef ECHOD_KV_PENDING_H
#define ECHOD_KV_PENDING_H

#include "kv/batch.h"

/* Zeroed = empty. It owns nothing but its places: undos belong to their batches. */
struct pending {
	size_t count, size; /* places, a power of two */
	struct undo **places;
};

void pending_clear(struct pending *pending);

/* The latest commit that has changed the key, 0 = all are settled. */
uint64_t pending_commit(const struct pending *pending, const struct table_key *key);

/* Makes sure that one more can be added. 0, or -1 when out of memory. */
int pending_reserve(struct pending *pending);
void pending_add(struct pending *pending, struct undo *undo);
void pending_remove(struct pending *pending, const struct undo *undo);

#endif
