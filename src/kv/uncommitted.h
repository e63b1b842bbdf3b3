/* The undos of all batches that are not committed yet, found by key. */
#ifndef ECHOD_KV_UNCOMMITTED_H
#define ECHOD_KV_UNCOMMITTED_H

#include "kv/batch.h"

/* Zeroed = empty. It owns its array; the undos belong to their batches. */
struct uncommitted {
	size_t count, size; /* places, a power of two */
	struct undo **places;
};

void uncommitted_clear(struct uncommitted *uncommitted);

/* The newest uncommitted batch that has changed the key; 0 = all are committed. */
uint64_t uncommitted_commit(const struct uncommitted *uncommitted, const struct table_key *key);

/* Reserves memory for one more undo. 0, or -1 when out of memory. */
int uncommitted_reserve(struct uncommitted *uncommitted);
void uncommitted_add(struct uncommitted *uncommitted, struct undo *undo);
void uncommitted_remove(struct uncommitted *uncommitted, const struct undo *undo);

#endif
