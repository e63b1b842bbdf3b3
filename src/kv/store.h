/* The store of this process: a keyspace in memory and, with a directory, a WAL and a snapshot that make it durable. */
#ifndef ECHOD_KV_STORE_H
#define ECHOD_KV_STORE_H

#include <stdint.h>

struct engine;
struct engine_host;
struct engine_settings;
struct error;

/* Loads the directory beside the loop, also beyond max_memory. NULL with the error. */
struct engine *store_new(
    const struct engine_settings *settings, const struct engine_host *host, struct error *error);

/*
 * Reads all of the store in a directory that no process has open, and verifies it. As root, gives up its
 * privileges and becomes the owner of the directory. 0 and the number of keys, or -1 with the error.
 */
int store_check(const char *directory, uint64_t *keys, struct error *error);

#endif
