/*
 * The keyspace: what a command sees of the store, and what it can do to it: get, put, delete. Put and delete, once for
 * all commands, add the change to the open batch, for the disk, and keep what it replaces as an undo until the batch is
 * committed. A keyspace that is not logged is the table alone. It is embedded in its store; commits.c takes the batches
 * from it.
 */
#ifndef ECHOD_KV_KEYSPACE_H
#define ECHOD_KV_KEYSPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "kv/command.h"
#include "kv/item.h"
#include "kv/table.h"
#include "kv/uncommitted.h"

struct batch;

struct keyspace {
	struct table *table;
	/* Set once by the store: */
	bool logged;   /* changes go into batches */
	bool undoable; /* and can be undone: clients wait for their commit */
	/* Set by commits.c: */
	bool read_only; /* the disk takes no changes, */
	bool deletes;   /* except deletions */
	bool undoing;   /* a failed batch is not all undone yet: uncommitted keys are not shown */
	/* Its own: */
	struct batch *open;             /* fills; NULL = nothing has changed, or out of memory */
	uint64_t last_commit;           /* the number of the newest batch */
	struct uncommitted uncommitted; /* the undos of all batches that are not committed */
	/* Of the command that runs; the store clears them before: */
	bool changed; /* the open batch has got a change */
	enum kv_status
	    refusal;     /* KV_FULL or KV_UNAVAILABLE: that is its status, whatever it returns */
	uint64_t commit; /* that its result rests on; 0 = it is durable */
};

/* --- for commands --- */

/* Whether the key exists, and its item, which is valid until the next change. */
bool keyspace_get(struct keyspace *keyspace, const struct table_key *key, struct item *item);

/* Sets or replaces. 0, or -1: the store is full or read-only; then nothing has changed. */
int keyspace_put(struct keyspace *keyspace, const struct table_key *key, const struct item *item);

/* Whether the key existed, and is deleted now. It is false also when the store refuses it; then nothing has changed. */
bool keyspace_delete(struct keyspace *keyspace, const struct table_key *key);

/* --- for the store and its commits --- */

/* The batch is durable: frees it and its undos. */
void keyspace_committed(struct keyspace *keyspace, struct batch *batch);

/*
 * Undoes the batch, which must be the newest that is left, and frees it; NULL is fine. false when out of memory: there
 * is more to undo, and *batch is what is left of it.
 */
bool keyspace_roll_back(struct keyspace *keyspace, struct batch **batch);

/* Frees the table and what is known of uncommitted keys, not the batches. */
void keyspace_clear(struct keyspace *keyspace);

#endif
