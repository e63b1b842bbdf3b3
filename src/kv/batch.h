/*
 * A batch: the changes of one commit, encoded as the frame of the WAL that they become, and the undos that take them
 * back. The loop fills it, the flusher's thread writes it, the loop frees it.
 */
#ifndef ECHOD_KV_BATCH_H
#define ECHOD_KV_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/buffer.h"
#include "kv/item.h"
#include "kv/table.h"

struct change;

/* Bytes in front of the changes, for the header of the frame. */
#define BATCH_HEADER 24

/* What a key was before the batch changed it. */
struct undo {
	struct undo *before; /* the batch's undo before it */
	struct undo *next;   /* in the same place of struct uncommitted */
	struct table_key key;
	uint64_t commit;
	bool existed;
	struct item item;      /* if it existed */
	unsigned char bytes[]; /* of the key, then of the value */
};

struct undo_block;

struct batch {
	uint64_t commit; /* its number */
	size_t changes;
	size_t puts; /* those that are no deletions */
	struct buffer frame;
	struct undo *undo; /* the newest */
	struct undo_block *blocks;
};

/* NULL with errno. */
struct batch *batch_new(uint64_t commit);
/* NULL is fine. */
void batch_free(struct batch *batch);

/* Adds a change. 0, or -1 when out of memory. */
int batch_add(struct batch *batch, const struct change *change);
/* Removes the change that was added last; once only. */
void batch_remove_last(struct batch *batch, const struct change *change);

/* Adds an undo with the key's present item; NULL = the key does not exist. NULL when out of memory. */
struct undo *batch_add_undo(
    struct batch *batch, const struct table_key *key, const struct item *item);
/* Removes the newest undo, and frees its memory. */
void batch_remove_undo(struct batch *batch);

#endif
