/*
 * The table is linear hashing: it grows and shrinks by one bucket at a time, so that the load stays
 * at GROW_LOAD entries per bucket whatever the size. The buckets lie in segments that never move,
 * found through a directory whose levels never move either. The table owns all of it.
 */
#include "kv/table.h"

#include "core/siphash.h"
#include "kv/account.h"
#include "kv/bucket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define GROW_LOAD 6   /* entries per bucket above which one is split */
#define SHRINK_LOAD 3 /* and below which two are merged */

#define SEGMENT_BUCKETS 256
#define SEGMENT_SIZE (SEGMENT_BUCKETS * sizeof(struct bucket))
#define DIRECTORY_LEVELS 48

struct table {
	struct siphash_key hash_key;
	size_t entries;
	size_t buckets;
	size_t mask; /* the smallest 2^n - 1 that covers every bucket's number */
	struct account account;
	struct bucket **directory[DIRECTORY_LEVELS]; /* level n leads to 2^n segments */
};

struct place {
	unsigned level;
	size_t n;
};

static struct place segment_place(size_t segment)
{
	unsigned level = 63 - (unsigned)__builtin_clzll((unsigned long long)segment + 1);

	return (struct place){ .level = level, .n = segment + 1 - ((size_t)1 << level) };
}

static size_t level_size(unsigned level)
{
	return sizeof(struct bucket *) << level;
}

static int segment_add(struct table *table, size_t segment)
{
	struct place at = segment_place(segment);
	struct bucket **level = table->directory[at.level], *buckets;

	if (at.n == 0)
		level = account_alloc(&table->account, level_size(at.level), 0);
	if (level == NULL)
		return -1;
	buckets = account_alloc_aligned(&table->account, LINE_SIZE, SEGMENT_SIZE);
	if (buckets == NULL) {
		if (at.n == 0)
			account_free(&table->account, level, level_size(at.level));
		return -1;
	}
	level[at.n] = buckets;
	table->directory[at.level] = level;
	return 0;
}

static void segment_remove(struct table *table, size_t segment)
{
	struct place at = segment_place(segment);
	struct bucket **level = table->directory[at.level];

	account_free(&table->account, level[at.n], SEGMENT_SIZE);
	if (at.n == 0)
		account_free(&table->account, level, level_size(at.level));
}

static struct bucket *bucket_at(const struct table *table, size_t number)
{
	struct place at = segment_place(number / SEGMENT_BUCKETS);

	return &table->directory[at.level][at.n][number % SEGMENT_BUCKETS];
}

/* A bucket that is not there yet is still part of the one it will be split from. */
static struct bucket *bucket_of(const struct table *table, uint64_t hash)
{
	size_t number = (size_t)hash & table->mask;

	if (number >= table->buckets)
		number &= table->mask >> 1;
	return bucket_at(table, number);
}

/* The next bucket, empty and not counted yet. Its memory is not touched before. */
static struct bucket *bucket_prepare(struct table *table)
{
	struct bucket *bucket;

	if (table->buckets % SEGMENT_BUCKETS == 0 &&
	    segment_add(table, table->buckets / SEGMENT_BUCKETS) == -1)
		return NULL;
	bucket = bucket_at(table, table->buckets);
	memset(bucket, 0, sizeof(*bucket));
	return bucket;
}

/* Takes back bucket_prepare(). */
static void bucket_retract(struct table *table)
{
	if (table->buckets % SEGMENT_BUCKETS == 0)
		segment_remove(table, table->buckets / SEGMENT_BUCKETS);
}

static uint64_t entry_hash(const struct table *table, const struct entry *entry)
{
	return siphash13(&table->hash_key, entry->bytes, entry->key_length);
}

static struct table_value entry_value(const struct entry *entry)
{
	return (struct table_value){
		.bytes = entry->bytes + entry->key_length,
		.length = entry->value_length,
	};
}

/* Moves what belongs to the last bucket there. The room has been reserved. */
static void bucket_split(const struct table *table, struct bucket *lower, struct bucket *upper)
{
	for (size_t n = bucket_count(lower); n-- > 0;)
		__builtin_prefetch(bucket_entry(lower, n));
	for (size_t n = bucket_count(lower); n-- > 0;) {
		if (bucket_of(table, entry_hash(table, bucket_entry(lower, n))) == upper)
			bucket_move(lower, n, upper);
	}
}

/*
 * Splits one bucket when the load asks for it. Without the memory for that, the table gets denser
 * and tries again with the next entry.
 */
static void table_grow(struct table *table)
{
	struct bucket *lower, *upper;

	if (table->entries <= table->buckets * GROW_LOAD)
		return;
	upper = bucket_prepare(table);
	if (upper == NULL)
		return;
	lower = bucket_of(table, table->buckets);
	if (bucket_reserve(upper, bucket_count(lower), &table->account) == -1) {
		bucket_retract(table);
		return;
	}
	if (table->buckets > table->mask)
		table->mask = table->mask << 1 | 1;
	table->buckets++;
	bucket_split(table, lower, upper);
	bucket_trim(lower, &table->account);
	bucket_trim(upper, &table->account);
}

/* Merges the last bucket with the one that it was split from when the load has fallen. */
static void table_shrink(struct table *table)
{
	size_t last = table->buckets - 1;
	struct bucket *lower, *upper;

	if (table->entries >= last * SHRINK_LOAD)
		return;
	lower = bucket_at(table, last & table->mask >> 1);
	upper = bucket_at(table, last);
	if (bucket_reserve(lower, bucket_count(lower) + bucket_count(upper), &table->account) == -1)
		return;
	for (size_t n = bucket_count(upper); n-- > 0;)
		bucket_move(upper, n, lower);
	bucket_trim(upper, &table->account);
	table->buckets--;
	if (table->buckets - 1 <= table->mask >> 1)
		table->mask >>= 1;
	bucket_retract(table);
}

struct table *table_new(size_t max_memory)
{
	struct table *table = calloc(1, sizeof(*table));

	if (table == NULL)
		return NULL;
	table->account.used = account_chunk(sizeof(*table));
	if (siphash_key_random(&table->hash_key) == -1 || bucket_prepare(table) == NULL) {
		free(table);
		return NULL;
	}
	table->buckets = 1;
	table->account.limit = max_memory;
	return table;
}

void table_free(struct table *table)
{
	if (table == NULL)
		return;
	while (table->buckets > 0) {
		table->buckets--;
		bucket_clear(bucket_at(table, table->buckets), &table->account);
		bucket_retract(table);
	}
	free(table);
}

void table_set_max_memory(struct table *table, size_t max_memory)
{
	table->account.limit = max_memory;
}

void table_prepare(const struct table *table, struct table_key *keys, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		keys[i].hash = siphash13(&table->hash_key, keys[i].bytes, keys[i].length);
		__builtin_prefetch(bucket_of(table, keys[i].hash));
	}
	if (count == 1)
		return; /* the bucket is not there yet, and whoever waits for it sees the entry then */
	for (size_t i = 0; i < count; i++)
		bucket_prefetch(bucket_of(table, keys[i].hash), keys[i].hash);
}

int table_get(const struct table *table, const struct table_key *key, struct table_value *value)
{
	const struct bucket *bucket = bucket_of(table, key->hash);
	size_t n = bucket_find(bucket, key->hash, key->bytes, key->length);

	if (n == SLOT_NONE)
		return -1;
	*value = entry_value(bucket_entry(bucket, n));
	return 0;
}

int table_set(
    struct table *table, const struct table_key *key, const void *value, size_t value_length)
{
	struct bucket *bucket = bucket_of(table, key->hash);
	size_t n;

	if (key->length > TABLE_KEY_MAX || value_length > TABLE_VALUE_MAX) {
		errno = E2BIG;
		return -1;
	}
	n = bucket_find(bucket, key->hash, key->bytes, key->length);
	if (n != SLOT_NONE)
		return bucket_replace(bucket, n, value, value_length, &table->account);
	if (bucket_add(bucket, key->hash, key->bytes, key->length, value, value_length,
		&table->account) == -1)
		return -1;
	table->entries++;
	table_grow(table);
	return 0;
}

int table_delete(struct table *table, const struct table_key *key)
{
	struct bucket *bucket = bucket_of(table, key->hash);
	size_t n = bucket_find(bucket, key->hash, key->bytes, key->length);

	if (n == SLOT_NONE)
		return -1;
	bucket_delete(bucket, n, &table->account);
	table->entries--;
	table_shrink(table);
	return 0;
}

void table_stats(const struct table *table, struct table_stats *stats)
{
	stats->entries = table->entries;
	stats->memory = table->account.used;
	stats->buckets = table->buckets;
}

int table_each(const struct table *table,
    int (*each)(void *arg, const void *key, size_t key_length, const struct table_value *value),
    void *arg)
{
	for (size_t number = 0; number < table->buckets; number++) {
		const struct bucket *bucket = bucket_at(table, number);
		size_t count = bucket_count(bucket);

		for (size_t n = 0; n < count; n++) {
			const struct entry *entry = bucket_entry(bucket, n);
			struct table_value value = entry_value(entry);
			int stop = each(arg, entry->bytes, entry->key_length, &value);

			if (stop != 0)
				return stop;
		}
	}
	return 0;
}
