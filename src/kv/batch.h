/*
 * A batch: the changes of one commit, as the records that the journal will hold, and the undos that take them back.
 * The loop fills it, the writer's thread commits it, the loop frees it.
 */
#ifndef ECHOD_KV_BATCH_H
#define ECHOD_KV_BATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "core/siphash.h"
#include "kv/record.h"
#include "kv/spool_head.h"
#include "kv/table.h"

/* One record of the journal, behind what the spool puts in front of it. */
struct batch_record {
	TAILQ_ENTRY(batch_record) entry;
	size_t length, capacity;
	bool checksummed;
	unsigned char head[SPOOL_HEAD_SIZE];
	unsigned char bytes[];
};

/* What a key was before the batch changed it. */
struct undo {
	struct undo *before; /* the batch's undo before it */
	struct undo *next;   /* in the same place of struct uncommitted */
	struct table_key key;
	uint64_t commit;
	bool existed;
	size_t value_length;
	unsigned char bytes[]; /* the key, then the value */
};

struct undo_block;

struct batch {
	uint64_t commit; /* its number */
	size_t changes, size;
	TAILQ_HEAD(batch_records, batch_record) records;
	struct undo *undo; /* the newest */
	struct undo_block *blocks;
	int spool_file;              /* that it is written to, or was read from; -1 = none */
	struct siphash_key next_key; /* of that file, when the journal has what it holds */
};

/* NULL with errno. */
struct batch *batch_new(uint64_t commit);
/* NULL is fine. */
void batch_free(struct batch *batch);

/* Adds a change. 0, or -1 when out of memory. */
int batch_add(struct batch *batch, const struct change *change);
/* Removes the change that was added last; once only. */
void batch_undo_last(struct batch *batch, const struct change *change);

/* Adds the changes of a record that is checksummed. 0, or -1 when out of memory. */
int batch_add_record(struct batch *batch, const unsigned char *bytes, size_t length);
/* Moves all records to the end of another batch, and counts their size there; nothing else. */
void batch_join(struct batch *batch, struct batch *to);
/* Puts the checksums into the records, once; no change can be added any more. */
void batch_add_checksums(const struct batch *batch);

/* Adds an undo with the key's present value; NULL = the key does not exist. NULL when out of memory. */
struct undo *batch_add_undo(
    struct batch *batch, const struct table_key *key, const struct slice *value);
/* Removes the newest undo, and frees its memory. */
void batch_drop_undo(struct batch *batch);

#endif
