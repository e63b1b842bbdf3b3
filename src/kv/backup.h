/* A backup: a copy of a snapshot in another directory, where it is a store of its own. */
#ifndef ECHOD_KV_BACKUP_H
#define ECHOD_KV_BACKUP_H

#include <stdint.h>

struct directory;
struct error;
struct snapshot;

/*
 * Makes a store with the same rows, and an identity of its own, in a directory that has none; creates the directory if it
 * is missing. It must not be in the directory `from`, which the snapshot is in. Reads and verifies the copy, and counts
 * *keys. 0, or -1 with the error; all that was created is removed then.
 */
int backup_make(struct snapshot *snapshot, const struct directory *from, const char *path,
    uint64_t *keys, struct error *error);

#endif
