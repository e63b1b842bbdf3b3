/*
 * The checkpoint: a thread that moves sealed segments of the WAL to the snapshot, and gives their files back to the WAL.
 * No client waits for it. It also makes backups, which are copies of the snapshot.
 */
#ifndef ECHOD_KV_CHECKPOINT_H
#define ECHOD_KV_CHECKPOINT_H

#include <stdbool.h>
#include <stdint.h>

#include "kv/directory.h"

struct checkpoint;
struct error;

struct checkpoint_status {
	bool works;        /* the last try has not failed */
	bool full;         /* if not: only space is lacking */
	bool moved;        /* if not: the directory is not the one that is locked */
	bool failed;       /* one has failed since the last poll */
	char failure[256]; /* the last one's reason */
	bool copied;    /* a backup has ended since the last poll: see checkpoint_backup_result() */
	uint64_t bytes; /* of the log, that have been moved */
	int64_t busy;   /* ms for which another program has kept it from writing; 0 = it does not */
};

/*
 * Starts the thread; it makes `fd`, an eventfd, readable when the status has changed. The directory must live longer.
 * NULL with the error.
 */
struct checkpoint *checkpoint_start(struct directory *directory, const struct store_id *id,
    uint64_t applied, int fd, struct error *error);

/* All segments up to that one are sealed. */
void checkpoint_submit(struct checkpoint *checkpoint, uint64_t sealed);

/*
 * Once all segments up to that one are in the snapshot, copies it to a directory that has no store; see
 * checkpoint_status.copied. One backup at a time. 0, or -1 with the error.
 */
int checkpoint_backup(
    struct checkpoint *checkpoint, const char *path, uint64_t segment, struct error *error);

/* Of the backup that has ended: 0 and the number of its keys, or -1 with the error. */
int checkpoint_backup_result(struct checkpoint *checkpoint, uint64_t *keys, struct error *error);

void checkpoint_poll(struct checkpoint *checkpoint, struct checkpoint_status *status);

/*
 * Ends the thread. With `finish`, it first moves what was submitted, unless it fails or takes two seconds. A transaction
 * that is under way then is rolled back. NULL is fine.
 */
void checkpoint_stop(struct checkpoint *checkpoint, bool finish);

#endif
