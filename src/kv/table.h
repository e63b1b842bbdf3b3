/*
 * The store's table: byte-string keys to items, in memory. Keyed SipHash-1-3, buckets
 * of one cache line, one allocation per entry, and it grows bucket by bucket: no call moves more
 * than a bounded number of entries. No sockets, no libevent, no threads.
 */
#ifndef ECHOD_KV_TABLE_H
#define ECHOD_KV_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kv/item.h"

struct table;

#define TABLE_KEY_MAX 65535u
#define TABLE_VALUE_MAX 0xffffffffu

/* A key, once table_hash_and_prefetch() has seen it. */
struct table_key {
	const void *bytes;
	size_t length;
	uint64_t hash; /* of the bytes, in that table */
};

struct table_stats {
	size_t entries;
	size_t memory; /* bytes: entries as allocated, buckets, directory */
	size_t buckets;
	size_t expiring; /* entries that have a time of expiry */
};

/*
 * An empty table that refuses to take more than max_memory bytes (0 = no limit).
 * NULL with errno ENOMEM, or that of getrandom(2).
 */
struct table *table_new(size_t max_memory);
void table_free(struct table *table);
/* Sets it to another limit, and returns the one before. */
size_t table_set_max_memory(struct table *table, size_t max_memory);

/*
 * Hashes a key for the calls below, and has the processor fetch the bucket and then the entry that they will
 * look at. A lookup waits twice for memory; thirty-two wait twice in all when each of these two has been called for
 * all keys first.
 */
void table_hash_and_prefetch(const struct table *table, struct table_key *key);
void table_prefetch_entry(const struct table *table, const struct table_key *key);

/*
 * Whether table_victim() will be asked for: from now on the table remembers what is used. It takes no memory.
 */
void table_set_eviction(struct table *table, bool evicts);

/* 0 and *item, which is valid until the next call that changes the table, or -1: no such key. */
int table_get(struct table *table, const struct table_key *key, struct item *item);

/* Sets or replaces. 0, or -1 with errno ENOSPC (past max_memory), ENOMEM or E2BIG; then nothing
 * changed. */
int table_set(struct table *table, const struct table_key *key, const struct item *item);

/* 0, or -1: no such key. */
int table_delete(struct table *table, const struct table_key *key);

/*
 * Chooses the entry that the caller deletes when there is no memory for another one. The key's bytes are valid until
 * the next call that changes the table. 0, or -1: the table is empty.
 */
int table_victim(struct table *table, struct table_key *key);

void table_stats(const struct table *table, struct table_stats *stats);

/*
 * Calls the function for each entry of one bucket. The first call has cursor 0, and each further one the cursor that the call
 * before returned, until that is 0. An entry that exists from the first call to the last is seen at least once, whatever is
 * set and deleted between the calls. When the function returns non-zero, the call ends and returns its own cursor, so that
 * the next one sees the bucket again. The function must not change the table.
 */
uint64_t table_scan(const struct table *table, uint64_t cursor,
    int (*each)(void *arg, const struct slice *key, const struct item *item), void *arg);

#endif
