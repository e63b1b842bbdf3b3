/*
 * The directory of a store: it belongs to one process, by a lock, and remains the same one even if its volume vanishes
 * and returns.
 */
#ifndef ECHOD_KV_DIRECTORY_H
#define ECHOD_KV_DIRECTORY_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct error;

#define STORE_ID_SIZE 16

/* The identity of a store: random, and part of each of its files. */
struct store_id {
	uint8_t bytes[STORE_ID_SIZE];
};

struct directory {
	char *path;
	int lock;  /* the lock file; -1 = not held */
	int found; /* the lock file of directory_reopen(), until directory_adopt(); -1 = none */
	bool made, made_lock;  /* by directory_open() */
	pthread_mutex_t mutex; /* of `lock` */
};

/*
 * Takes the lock of the directory. With `create`, the directory and the lock file are created if they are missing;
 * without, a directory that has no lock file belongs to nobody. 0, or -1 with the error; the caller then
 * calls directory_close(), too.
 */
int directory_open(struct directory *directory, const char *path, bool create, struct error *error);

/*
 * Removes the lock file and the directory if directory_open() has created them, and nothing else is in it. Only while the
 * lock is held, or after directory_open() has failed.
 */
void directory_remove_made(struct directory *directory);

/*
 * Whether the path, of which the last name may be missing, is the directory or below it, by whatever links and mounts it
 * leads there.
 */
bool directory_contains(const struct directory *directory, const char *path);

/*
 * Whether the path still leads to the directory that is locked: to be called before a file in it is created, renamed or
 * removed. 0, or -1 with the error (code ESTALE). Any thread may call it.
 */
int directory_check(struct directory *directory, struct error *error);

/*
 * After a failure: takes the lock in addition if the volume was mounted anew. 0, or -1 with the error: the lock file is
 * missing, as in an empty mount point, another process has the lock, or the directory was replaced by a copy. The caller
 * compares the files with what it knows, and then calls directory_adopt(). Only one thread may call these two.
 */
int directory_reopen(struct directory *directory, struct error *error);
/* Goes on with the directory that directory_reopen() has found, or, unless it `is_ours`, remains with the one before. */
void directory_adopt(struct directory *directory, bool is_ours);

/* Syncs the directory, so that new names and renames are on the disk. 0, or -1 with errno. */
int directory_sync(const struct directory *directory);

/* The path of a file in it; "", which no file has, if it does not fit. */
void directory_path(const struct directory *directory, const char *name, char path[FILENAME_MAX]);

void directory_close(struct directory *directory);

#endif
