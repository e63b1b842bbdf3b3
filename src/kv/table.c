/*
 * Linear hashing (Litwin 1980): the table grows and shrinks by one bucket at a time, so that the load stays at GROW_LOAD
 * entries per bucket whatever the size. Neither the segments that hold the buckets nor the levels of the directory that finds
 * them ever move. The table owns all of these.
 */
#include "kv/table.h"

#include "core/siphash.h"
#include "kv/bucket.h"
#include "kv/budget.h"

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
	struct budget budget;
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
		level = budget_alloc(&table->budget, level_size(at.level), 0);
	if (level == NULL)
		return -1;
	buckets = budget_alloc_aligned(&table->budget, LINE_SIZE, SEGMENT_SIZE);
	if (buckets == NULL) {
		if (at.n == 0)
			budget_free(&table->budget, level, level_size(at.level));
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

	budget_free(&table->budget, level[at.n], SEGMENT_SIZE);
	if (at.n == 0)
		budget_free(&table->budget, level, level_size(at.level));
}

/*
 * The bucket of a hash; the number of a bucket is a hash that leads to it. A bucket that is not there yet is still part
 * of the one it will be split from.
 */
static struct bucket *bucket_of(const struct table *table, uint64_t hash)
{
	size_t number = (size_t)hash & table->mask, segment;
	unsigned level;

	if (number >= table->buckets)
		number &= table->mask >> 1;
	/* As segment_place(), by hand: every lookup comes through here, twice. */
	segment = number / SEGMENT_BUCKETS + 1;
	level = 63 - (unsigned)__builtin_clzll((unsigned long long)segment);
	return &table->directory[level][segment - ((size_t)1 << level)][number % SEGMENT_BUCKETS];
}

/* The next bucket, empty and not counted yet. Its memory is not touched before. */
static struct bucket *bucket_allocate(struct table *table)
{
	size_t segment = table->buckets / SEGMENT_BUCKETS;
	struct place at = segment_place(segment);
	struct bucket *bucket;

	if (table->buckets % SEGMENT_BUCKETS == 0 && segment_add(table, segment) == -1)
		return NULL;
	bucket = &table->directory[at.level][at.n][table->buckets % SEGMENT_BUCKETS];
	memset(bucket, 0, sizeof(*bucket));
	return bucket;
}

/* Undoes bucket_allocate(). */
static void bucket_free_last(struct table *table)
{
	if (table->buckets % SEGMENT_BUCKETS == 0)
		segment_remove(table, table->buckets / SEGMENT_BUCKETS);
}

static uint64_t entry_hash(const struct table *table, const struct entry *entry)
{
	return siphash13(&table->hash_key, entry->bytes, entry->key_length);
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
	upper = bucket_allocate(table);
	if (upper == NULL)
		return;
	lower = bucket_of(table, table->buckets);
	if (bucket_reserve(upper, bucket_count(lower), &table->budget) == -1) {
		bucket_free_last(table);
		return;
	}
	if (table->buckets > table->mask)
		table->mask = table->mask << 1 | 1;
	table->buckets++;
	bucket_split(table, lower, upper);
	bucket_trim(lower, &table->budget);
	bucket_trim(upper, &table->budget);
}

/* Merges the last bucket with the one that it was split from when the load has fallen. */
static void table_shrink(struct table *table)
{
	size_t last = table->buckets - 1;
	struct bucket *lower, *upper;

	if (table->entries >= last * SHRINK_LOAD)
		return;
	lower = bucket_of(table, last & table->mask >> 1);
	upper = bucket_of(table, last);
	if (bucket_reserve(lower, bucket_count(lower) + bucket_count(upper), &table->budget) == -1)
		return;
	for (size_t n = bucket_count(upper); n-- > 0;)
		bucket_move(upper, n, lower);
	bucket_trim(upper, &table->budget);
	table->buckets--;
	if (table->buckets - 1 <= table->mask >> 1)
		table->mask >>= 1;
	bucket_free_last(table);
}

struct table *table_new(size_t max_memory)
{
	struct table *table = calloc(1, sizeof(*table));

	if (table == NULL)
		return NULL;
	table->budget.used = budget_chunk(sizeof(*table));
	if (siphash_key_random(&table->hash_key) == -1 || bucket_allocate(table) == NULL) {
		free(table);
		return NULL;
	}
	table->buckets = 1;
	table->budget.limit = max_memory;
	return table;
}

void table_free(struct table *table)
{
	if (table == NULL)
		return;
	while (table->buckets > 0) {
		bucket_clear(bucket_of(table, table->buckets - 1), &table->budget);
		table->buckets--;
		bucket_free_last(table);
	}
	free(table);
}

size_t table_set_max_memory(struct table *table, size_t max_memory)
{
	size_t before = table->budget.limit;

	table->budget.limit = max_memory;
	return before;
}

void table_hash_and_prefetch(const struct table *table, struct table_key *key)
{
	key->hash = siphash13(&table->hash_key, key->bytes, key->length);
	__builtin_prefetch(bucket_of(table, key->hash));
}

void table_prefetch_entry(const struct table *table, const struct table_key *key)
{
	bucket_prefetch(bucket_of(table, key->hash), key->hash);
}

int table_get(const struct table *table, const struct table_key *key, struct item *item)
{
	const struct entry *entry;

	if (bucket_find(bucket_of(table, key->hash), key->hash, key->bytes, key->length, &entry) ==
	    SLOT_NONE)
		return -1;
	*item = (struct item){ .value = { (const char *)entry->bytes + entry->key_length,
				   entry->value_length } };
	return 0;
}

int table_set(struct table *table, const struct table_key *key, const struct item *item)
{
	struct bucket *bucket = bucket_of(table, key->hash);
	const struct entry *entry;
	size_t n;

	if (key->length > TABLE_KEY_MAX || item->value.length > TABLE_VALUE_MAX) {
		errno = E2BIG;
		return -1;
	}
	n = bucket_find(bucket, key->hash, key->bytes, key->length, &entry);
	if (n != SLOT_NONE)
		return bucket_replace(
		    bucket, n, item->value.bytes, item->value.length, &table->budget);
	if (bucket_add(bucket, key->hash, key->bytes, key->length, item->value.bytes,
		item->value.length, &table->budget) == -1)
		return -1;
	table->entries++;
	table_grow(table);
	return 0;
}

int table_delete(struct table *table, const struct table_key *key)
{
	struct bucket *bucket = bucket_of(table, key->hash);
	const struct entry *entry;
	size_t n = bucket_find(bucket, key->hash, key->bytes, key->length, &entry);

	if (n == SLOT_NONE)
		return -1;
	bucket_delete(bucket, n, &table->budget);
	table->entries--;
	table_shrink(table);
	return 0;
}

void table_stats(const struct table *table, struct table_stats *stats)
{
	stats->entries = table->entries;
	stats->memory = table->budget.used;
	stats->buckets = table->buckets;
}

int table_each(const struct table *table,
    int (*each)(void *arg, const struct slice *key, const struct item *item), void *arg)
{
	for (size_t number = 0; number < table->buckets; number++) {
		const struct bucket *bucket = bucket_of(table, number);
		size_t count = bucket_count(bucket);

		for (size_t n = 0; n < count; n++) {
			const struct entry *entry = bucket_entry(bucket, n);
			struct slice key = { (const char *)entry->bytes, entry->key_length };
			struct item item = { .value = { key.bytes + entry->key_length,
						 entry->value_length } };
			int stop = each(arg, &key, &item);

			if (stop != 0)
				return stop;
		}
	}
	return 0;
}
