/*
 * Linear hashing (Litwin 1980): the table grows and shrinks by one bucket at a time, so that the load stays at GROW_LOAD
 * entries per bucket whatever the size. Neither the segments that hold the buckets nor the levels of the directory that finds
 * them ever move. The table owns all of these.
 */
#include "kv/table.h"

#include "core/siphash.h"
#include "kv/bucket.h"
#include "kv/entry.h"
#include "kv/slab.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define GROW_LOAD 6   /* entries per bucket above which one is split */
#define SHRINK_LOAD 3 /* and below which two are merged */

#define SEGMENT_BUCKETS 256
#define SEGMENT_SIZE (SEGMENT_BUCKETS * sizeof(struct bucket))
#define DIRECTORY_LEVELS 48

#define NEWCOMERS_PER 5 /* one of so many entries may be a newcomer */
#define HAND_STEPS_MAX 64

struct table {
	struct siphash_key hash_key;
	size_t entries;
	size_t expiring; /* of these */
	size_t buckets;
	bool evicts;                       /* uses are marked */
	size_t proven;                     /* of the entries; the others are newcomers */
	size_t newcomer_hand, proven_hand; /* numbers of buckets, or past the last one */
	size_t mask; /* the smallest 2^n - 1 that covers every bucket's number */
	struct slabs slabs;
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
		level = budget_alloc(&table->slabs.budget, level_size(at.level), 0);
	if (level == NULL)
		return -1;
	buckets = budget_alloc_aligned(&table->slabs.budget, LINE_SIZE, SEGMENT_SIZE);
	if (buckets == NULL) {
		if (at.n == 0)
			budget_free(&table->slabs.budget, level, level_size(at.level));
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

	budget_free(&table->slabs.budget, level[at.n], SEGMENT_SIZE);
	if (at.n == 0)
		budget_free(&table->slabs.budget, level, level_size(at.level));
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
	struct slice key;
	struct item item;

	entry_read(entry, &key, &item);
	return siphash13(&table->hash_key, key.bytes, key.length);
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
 * Splits one bucket when the load is above GROW_LOAD. Without the memory for that, the table gets denser
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
	if (bucket_reserve(upper, bucket_count(lower), &table->slabs) == -1) {
		bucket_free_last(table);
		return;
	}
	if (table->buckets > table->mask)
		table->mask = table->mask << 1 | 1;
	table->buckets++;
	bucket_split(table, lower, upper);
	bucket_trim(lower, &table->slabs);
	bucket_trim(upper, &table->slabs);
}

size_t table_set_max_memory(struct table *table, size_t max_memory)
{
	size_t before = table->slabs.budget.limit;

	table->slabs.budget.limit = max_memory;
	return before;
}

/* Merges the last bucket with the one that it was split from when the load has fallen. */
static void table_shrink(struct table *table)
{
	size_t last = table->buckets - 1, limit;
	struct bucket *lower, *upper;
	int reserved;

	if (table->entries >= last * SHRINK_LOAD)
		return;
	lower = bucket_of(table, last & table->mask >> 1);
	upper = bucket_of(table, last);
	limit = table_set_max_memory(table, 0); /* past it, memory must be given back */
	reserved = bucket_reserve(lower, bucket_count(lower) + bucket_count(upper), &table->slabs);
	table_set_max_memory(table, limit);
	if (reserved == -1)
		return;
	for (size_t n = bucket_count(upper); n-- > 0;)
		bucket_move(upper, n, lower);
	bucket_trim(upper, &table->slabs);
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
	table->slabs.budget.used = budget_chunk(sizeof(*table));
	if (siphash_key_random(&table->hash_key) == -1 || bucket_allocate(table) == NULL) {
		free(table);
		return NULL;
	}
	table->buckets = 1;
	table->slabs.budget.limit = max_memory;
	return table;
}

void table_free(struct table *table)
{
	if (table == NULL)
		return;
	while (table->buckets > 0) {
		bucket_clear(bucket_of(table, table->buckets - 1), &table->slabs);
		table->buckets--;
		bucket_free_last(table);
	}
	slab_clear(&table->slabs);
	free(table);
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

/* As bucket_find(). */
static size_t find_item(const struct bucket *bucket, const struct table_key *key, struct item *item)
{
	return bucket_find(bucket, key->hash, (struct slice){ key->bytes, key->length }, item);
}

int table_get(struct table *table, const struct table_key *key, struct item *item)
{
	struct bucket *bucket = bucket_of(table, key->hash);
	size_t n = find_item(bucket, key, item);

	if (n == SLOT_NONE)
		return -1;
	if (table->evicts)
		bucket_mark_used(bucket, n);
	return 0;
}

static void correct_moved(struct table *table, const struct moved_entry *moved)
{
	if (moved->from != NULL)
		bucket_correct(bucket_of(table, entry_hash(table, moved->to)), moved);
}

int table_set(struct table *table, const struct table_key *key, const struct item *item)
{
	struct bucket *bucket = bucket_of(table, key->hash);
	struct slice bytes = { key->bytes, key->length };
	struct moved_entry moved;
	struct item old;
	bool was_expiring;
	size_t n;

	if (key->length > TABLE_KEY_MAX || item->value.length > TABLE_VALUE_MAX) {
		errno = E2BIG;
		return -1;
	}
	n = find_item(bucket, key, &old);
	was_expiring = n != SLOT_NONE && old.expires != 0;
	if ((n == SLOT_NONE ? bucket_add(bucket, key->hash, bytes, item, &table->slabs)
			    : bucket_replace(bucket, n, item, &table->slabs, &moved)) == -1)
		return -1;
	table->expiring += item->expires != 0;
	if (n != SLOT_NONE) {
		table->expiring -= was_expiring;
		if (table->evicts)
			bucket_mark_used(bucket, n);
		correct_moved(table, &moved);
		return 0;
	}
	table->entries++;
	if (table->evicts && bucket_recall(bucket, key->hash)) {
		bucket_mark_proven(bucket, bucket_count(bucket) - 1);
		bucket_mark_used(bucket, bucket_count(bucket) - 1);
		table->proven++;
	}
	table_grow(table);
	return 0;
}

int table_delete(struct table *table, const struct table_key *key)
{
	struct bucket *bucket = bucket_of(table, key->hash);
	struct moved_entry moved;
	struct item item;
	size_t n = find_item(bucket, key, &item);

	if (n == SLOT_NONE)
		return -1;
	table->expiring -= item.expires != 0;
	table->proven -= bucket_is_proven(bucket, n);
	moved = bucket_delete(bucket, n, &table->slabs);
	correct_moved(table, &moved);
	table->entries--;
	table_shrink(table);
	return 0;
}

void table_set_eviction(struct table *table, bool evicts)
{
	table->evicts = evicts;
}

/*
 * Chooses as S3-FIFO does (Yang et al. 2023), with hands that walk through the buckets instead of queues. An entry is added
 * as a newcomer. Eviction keeps newcomers to a fifth of all entries, so that one that is not used is evicted soon, and a
 * scan evicts little else. A newcomer that was used when the hand reaches it becomes a proven entry. Of the proven entries, the
 * hand evicts the first that was not used since it last passed (CLOCK). A bucket remembers the tags of the last two entries
 * that were evicted from it: a key that returns so soon is proven at once. The marks are spare bits of the slot and the
 * tags spare bytes of the bucket, so they take no memory.
 *
 * More newcomers suit a change of what is popular, fewer suit what stays popular. tests/bench/policies compares this with
 * others; tests/bench/cache with Redis and memcached.
 */
int table_victim(struct table *table, struct table_key *key)
{
	struct bucket *bucket;
	struct slice bytes;
	struct item item;
	size_t n;

	if (table->entries == 0)
		return -1;
	for (size_t steps = 0;; steps++) {
		bool newcomers = table->entries - table->proven > table->entries / NEWCOMERS_PER;
		size_t *hand = newcomers ? &table->newcomer_hand : &table->proven_hand;

		if (*hand >= table->buckets)
			*hand = 0;
		bucket = bucket_of(table, *hand);
		n = newcomers ? bucket_unused_newcomer(bucket, &table->proven)
			      : bucket_unused_proven(bucket);
		if (n == SLOT_NONE && steps >= HAND_STEPS_MAX && bucket_count(bucket) > 0)
			n = 0;
		if (n != SLOT_NONE)
			break;
		++*hand;
	}
	bucket_note_eviction(bucket, n);
	entry_read(bucket_entry(bucket, n), &bytes, &item);
	*key = (struct table_key){ bytes.bytes, bytes.length,
		siphash13(&table->hash_key, bytes.bytes, bytes.length) };
	return 0;
}

void table_stats(const struct table *table, struct table_stats *stats)
{
	stats->entries = table->entries;
	stats->expiring = table->expiring;
	stats->memory = table->slabs.budget.used;
	stats->buckets = table->buckets;
}

static uint64_t reversed(uint64_t bits)
{
	bits = (bits >> 1 & 0x5555555555555555) | (bits & 0x5555555555555555) << 1;
	bits = (bits >> 2 & 0x3333333333333333) | (bits & 0x3333333333333333) << 2;
	bits = (bits >> 4 & 0x0f0f0f0f0f0f0f0f) | (bits & 0x0f0f0f0f0f0f0f0f) << 4;
	return __builtin_bswap64(bits);
}

/*
 * Buckets split and merge by the next bit of the hash. With its bits reversed, a bucket is an interval of hashes: a split
 * halves it and leaves all others as they are. The scan goes through the hashes in that order, as Redis' does, and
 * the cursor is the first one that it has not seen. It is reversed for the caller, to whom it is a small number.
 */
uint64_t table_scan(const struct table *table, uint64_t cursor,
    int (*each)(void *arg, const struct slice *key, const struct item *item), void *arg)
{
	const struct bucket *bucket = bucket_of(table, cursor);
	size_t count = bucket_count(bucket), half = table->mask >> 1;
	bool is_split = ((size_t)cursor & half) + half + 1 < table->buckets;

	for (size_t n = 0; n < count; n++) {
		struct slice key;
		struct item item;

		entry_read(bucket_entry(bucket, n), &key, &item);
		if (each(arg, &key, &item) != 0)
			return cursor;
	}
	/* The bucket's last hash in that order has ones in all the bits that do not select the bucket. */
	cursor |= ~(uint64_t)(is_split ? table->mask : half);
	return reversed(reversed(cursor) + 1);
}
