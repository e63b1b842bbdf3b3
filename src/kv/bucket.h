/*
 * A bucket: one cache line of eight slots, and a spill, an array of just the right size, for the
 * slots that do not fit. A slot points to an entry (entry.h), which the bucket owns.
 * The slots of the line and the spill are numbered through: those in use come first, without a gap.
 * All memory comes from the slabs that are passed in.
 */
#ifndef ECHOD_KV_BUCKET_H
#define ECHOD_KV_BUCKET_H

#include <assert.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/slice.h"

struct entry;
struct item;
struct slabs;

#define LINE_SIZE 64
#define LINE_SLOTS 8

#define SLOT_NONE SIZE_MAX

struct spill;

/* All zeroes is an empty one. */
struct bucket {
	alignas(LINE_SIZE) uint8_t tags[LINE_SLOTS]; /* 0 = the slot is free */
	uint32_t address_low[LINE_SLOTS];
	uint16_t address_high[LINE_SLOTS];
	uint32_t spill_low; /* the spill's address; 0 = there is none */
	uint16_t spill_high;
	uint8_t evicted[2]; /* tags of the last ones, the newest first; 0 = none */
};
static_assert(sizeof(struct bucket) == LINE_SIZE, "a bucket is one cache line");

/* The slots in use. */
size_t bucket_count(const struct bucket *bucket);

/* The entry of slot n. */
struct entry *bucket_entry(const struct bucket *bucket, size_t n);

/* The slot that holds the key, and its item, or SLOT_NONE. */
size_t bucket_find(const struct bucket *bucket, uint64_t hash, struct slice key, struct item *item);

/* Asks for the entries that bucket_find() would look at, those of the spill aside. */
void bucket_prefetch(const struct bucket *bucket, uint64_t hash);

/* Makes room for `count` slots in all. 0, or -1 with errno; then nothing changed. */
int bucket_reserve(struct bucket *bucket, size_t count, struct slabs *slabs);

/* Gives back the room that is not needed. */
void bucket_trim(struct bucket *bucket, struct slabs *slabs);

/*
 * Adds an entry. 0, or -1 with errno ENOSPC or ENOMEM; then nothing changed. The key must be a new
 * one.
 */
int bucket_add(struct bucket *bucket, uint64_t hash, struct slice key, const struct item *item,
    struct slabs *slabs);

/*
 * An entry that slab_free() has moved; `from` NULL = none. Its slot, which may be in any bucket, must be corrected before
 * anything else is done.
 */
struct moved_entry {
	const struct entry *from, *to;
};

/* Gives the entry of slot n another item. 0, or -1 with errno; then nothing changed. */
int bucket_replace(struct bucket *bucket, size_t n, const struct item *item, struct slabs *slabs,
    struct moved_entry *moved);

/* Frees the entry of slot n; the last slot takes its place. */
struct moved_entry bucket_delete(struct bucket *bucket, size_t n, struct slabs *slabs);

/*
 * Marks, for eviction (table_victim() says how it works). An entry is added as a newcomer without a use; it keeps its marks
 * when it is replaced or moved.
 */
void bucket_mark_used(struct bucket *bucket, size_t n);
void bucket_mark_proven(struct bucket *bucket, size_t n);
bool bucket_is_proven(const struct bucket *bucket, size_t n);

/* Whether an entry of that hash was among the last that were evicted here. Says so once. */
bool bucket_recall(struct bucket *bucket, uint64_t hash);

/*
 * The slot of a newcomer that was not used, or SLOT_NONE. Used ones in front of it become proven, and are added to
 * *proven.
 */
size_t bucket_unused_newcomer(struct bucket *bucket, size_t *proven);

/* The slot of a proven entry that was not used. If there is none, SLOT_NONE, and all lose the mark of their use. */
size_t bucket_unused_proven(struct bucket *bucket);

/* Remembers that the entry of slot n is evicted, which the caller deletes. */
void bucket_note_eviction(struct bucket *bucket, size_t n);

/* Corrects the slot of an entry that is in this bucket and has moved. */
void bucket_correct(struct bucket *bucket, const struct moved_entry *moved);

/* Gives slot n to another bucket, which has room; the last slot takes its place. */
void bucket_move(struct bucket *from, size_t n, struct bucket *to);

/* Frees the spill, and those entries that are not in cells: slab_clear() frees the others. */
void bucket_clear(struct bucket *bucket, struct slabs *slabs);

#endif
