/*
 * The snapshot: an SQLite database with the newest item of each key, up to some segment of the WAL. Not for two threads
 * at once.
 */
#ifndef ECHOD_KV_SNAPSHOT_H
#define ECHOD_KV_SNAPSHOT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "kv/directory.h"

struct change;
struct error;
struct snapshot;

/* What the table `meta` says. */
struct snapshot_meta {
	struct store_id id;
	uint64_t commits; /* transactions, so far */
	uint64_t segment; /* the last one that is in it */
	uint64_t keys;
	uint64_t checksum; /* the sum of those of all items */
};

/* Creates an empty one. 0, or -1 with the error. */
int snapshot_create(
    const struct directory *directory, const struct store_id *id, struct error *error);

/*
 * Opens it; every later call returns -1 with ECANCELED soon after *cancelled is true. NULL with the error. Of all errors
 * the code is an errno; ENOENT: there is none, or one whose creation was interrupted; EBUSY: another program is reading
 * it; EBADMSG: it is damaged.
 */
struct snapshot *snapshot_open(
    const struct directory *directory, const atomic_bool *cancelled, struct error *error);
void snapshot_close(struct snapshot *snapshot);
const struct snapshot_meta *snapshot_meta(const struct snapshot *snapshot);

#define SNAPSHOT_LOAD_MAX 32

/*
 * Calls the function with all rows, at most SNAPSHOT_LOAD_MAX at a time, which are valid during the call; it may
 * return -1 with errno to stop. Verifies that none is damaged or missing. 0, or -1 with the error.
 */
int snapshot_load(struct snapshot *snapshot,
    int (*each)(void *arg, const struct change *changes, size_t count), void *arg,
    struct error *error);

/* Verifies the pages that snapshot_load() has not read. 0, or -1 with the error. */
int snapshot_check(struct snapshot *snapshot, struct error *error);
/* Called by another thread, ends a check that has begun: it returns -1. */
void snapshot_interrupt(struct snapshot *snapshot);

/*
 * Applies changes of different keys, best in their order, in one transaction. `segment`: with these, all segments up to
 * that one are in it. 0, or -1 with the error, and it is as before.
 */
int snapshot_apply(struct snapshot *snapshot, const struct change *const *changes, size_t count,
    uint64_t segment, struct error *error);

#endif
