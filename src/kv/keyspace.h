/*
 * The keyspace: what a command sees of the store, and what it can do to it: get, put, delete. Put and delete, once for
 * all commands, add the change to the open batch, for the disk, and keep what it replaces as an undo until the batch is
 * committed. A key that has expired is missing for all of them, whether or not it is in the table. A keyspace that is
 * not logged is the table alone. It is embedded in its store; commits.c takes the batches from it.
 */
#ifndef ECHOD_KV_KEYSPACE_H
#define ECHOD_KV_KEYSPACE_H

#include <stdbool.h>
#include <stdint.h>

#include "kv/command.h"
#include "kv/item.h"
#include "kv/list.h"
#include "kv/table.h"
#include "kv/uncommitted.h"
#include "kv/watches.h"

struct batch;

struct keyspace {
	struct table *table;
	/* Set once by the store: */
	bool logged;         /* changes go into batches */
	bool undoable;       /* and can be undone: clients wait for their commit */
	size_t max_value;    /* bytes; commands that make values check it */
	bool evicts;         /* rather than refuse a change that max_memory does not allow */
	bool in_transaction; /* no command makes its result in parts */
	/* Set by commits.c: */
	bool read_only; /* the disk takes no changes, */
	bool deletes;   /* except deletions */
	bool undoing;   /* a failed batch is not all undone yet: uncommitted keys are not shown */
	/* Its own: */
	struct batch *open;             /* fills; NULL = nothing has changed, or out of memory */
	uint64_t last_commit;           /* the number of the newest batch */
	struct uncommitted uncommitted; /* the undos of all batches that are not committed */
	int64_t earliest;   /* ms since 1970: no key expires before; INT64_MAX = none expires */
	bool sooner;        /* that was lowered, since the store has cleared it */
	uint64_t evictions; /* since the start */
	struct watches watches;
	int64_t now; /* of the calls that are run together; 0 = not needed yet */
	/* Of the command that runs; the store clears them before: */
	bool changed;           /* the open batch has got a change */
	enum kv_status refusal; /* KV_OK, or that is its status, whatever it returns */
	uint64_t commit;        /* that its result rests on; 0 = it is durable */
	struct list list;       /* its result, if that is a list */
};

/* --- for commands --- */

/* Whether the key exists, and its item, which is valid until the next change; that of a missing key is empty. */
bool keyspace_get(struct keyspace *keyspace, const struct table_key *key, struct item *item);

/*
 * Sets or replaces. 0, or -1: the store is full or read-only; then nothing has changed, but keys may have been evicted.
 * The value may be one that keyspace_get() has found.
 */
int keyspace_put(struct keyspace *keyspace, const struct table_key *key, const struct item *item);
/* The same for what a command undoes: whatever the limit is, and evicts nothing. */
int keyspace_put_back(
    struct keyspace *keyspace, const struct table_key *key, const struct item *item);

/* Whether the key existed, and is deleted now. It is false also when the store refuses it; then nothing has changed. */
bool keyspace_delete(struct keyspace *keyspace, const struct table_key *key);

/*
 * Gives the item of a key, as keyspace_get() has found it, to another key, and deletes the first one. 0, or -1 as
 * keyspace_put(): then neither has changed.
 */
int keyspace_rename(struct keyspace *keyspace, const struct table_key *from,
    const struct item *item, const struct table_key *to);

/* An empty list for the result of the command that runs; it is valid until another command asks for it. */
struct list *keyspace_list(struct keyspace *keyspace);

/* A key of the call besides call.key. */
struct table_key keyspace_key(const struct keyspace *keyspace, struct slice bytes);

/* ms since 1970, the same for all calls that are run together. */
int64_t keyspace_now(struct keyspace *keyspace);

/* The number of keys, including those that have expired and are still in the table. */
size_t keyspace_count(struct keyspace *keyspace);

/* As table_scan(), without keys that have expired. */
uint64_t keyspace_scan(struct keyspace *keyspace, uint64_t cursor,
    int (*each)(void *arg, const struct slice *key, const struct item *item), void *arg);

/* --- for the store, its sweep and its commits --- */

/* Watches the key: NULL when out of memory. *changes is the count now, of which the expiry of a key is one, too. */
struct watch *keyspace_watch(struct keyspace *keyspace, struct slice key, uint64_t *changes);
bool keyspace_has_changed(struct keyspace *keyspace, const struct watch *watch, uint64_t changes);

/*
 * Deletes a key that is in the table and has expired. No result rests on it, and it has no undo: should its commit
 * fail, the key is on the disk, and has expired there, too. false: not now, the store is read-only or short of memory.
 */
bool keyspace_expire(struct keyspace *keyspace, const struct table_key *key);

/* Evicts a key. false: there is none, or the store is read-only or short of memory. */
bool keyspace_evict(struct keyspace *keyspace);

/* The batch is durable: frees it and its undos. */
void keyspace_committed(struct keyspace *keyspace, struct batch *batch);

/*
 * Undoes the batch, which must be the newest that is left, and frees it; NULL is fine. false when out of memory: there
 * is more to undo, and *batch is what is left of it.
 */
bool keyspace_roll_back(struct keyspace *keyspace, struct batch **batch);

/* Frees the table and the index of uncommitted keys, not the batches. */
void keyspace_clear(struct keyspace *keyspace);

#endif
