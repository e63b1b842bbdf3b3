/* Loads a store in a thread of its own, so that the loop serves others meanwhile. */
#ifndef ECHOD_KV_LOADER_H
#define ECHOD_KV_LOADER_H

#include <stdbool.h>
#include <stdint.h>

#include "kv/directory.h"
#include "kv/wal.h"

struct error;
struct loader;
struct table;

/* A loaded store; the caller frees the table and closes the log. */
struct loaded {
	struct table *table;
	struct wal wal;
	uint64_t applied; /* the last segment that is in the snapshot */
};

/*
 * Loads what the directory has, or creates a store in it if it is empty. The thread makes `fd`, an eventfd, readable at
 * the end. NULL with the error.
 */
struct loader *loader_start(struct directory *directory, int fd, struct error *error);

/* 1 = loaded, 0 = not yet, -1 with the error. */
int loader_poll(struct loader *loader, struct error *error);

/* Keys so far. */
uint64_t loader_progress(const struct loader *loader);

/* Hands the loaded store over. Once, after loader_poll() has returned 1. */
void loader_detach(struct loader *loader, struct loaded *loaded);

/* Cancels the load if it is under way, and waits for the thread. NULL is fine. */
void loader_free(struct loader *loader);

/*
 * The same without a thread, for a check: reads everything and creates nothing. 0 and the number of keys, or -1 with
 * the error.
 */
int loader_check(struct directory *directory, uint64_t *keys, struct error *error);

#endif
