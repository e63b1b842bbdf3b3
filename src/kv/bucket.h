/*
 * A bucket: one cache line of eight slots, and a spill, an array of just the right size, for the
 * slots that do not fit. A slot leads to an entry, which is a key and its value in one allocation.
 * The slots of the line and the spill are one row: those in use come first, without a gap.
 * All memory is charged to the budget that is passed in.
 */
#ifndef ECHOD_KV_BUCKET_H
#define ECHOD_KV_BUCKET_H

#include <assert.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdint.h>

#include "core/slice.h"

struct budget;
struct entry;
struct item;

#define LINE_SIZE 64
#define LINE_SLOTS 8

#define SLOT_NONE SIZE_MAX

struct spill;

/* All zeroes is an empty one. */
struct bucket {
	alignas(LINE_SIZE) uint8_t tags[LINE_SLOTS]; /* 0 = the slot is free */
	uint32_t address_low[LINE_SLOTS];
	uint16_t address_high[LINE_SLOTS];
	struct spill *spill;
};
static_assert(sizeof(struct bucket) == LINE_SIZE, "a bucket is one cache line");

/* The slots in use. */
size_t bucket_count(const struct bucket *bucket);

/* The entry of slot n. */
struct entry *bucket_entry(const struct bucket *bucket, size_t n);

/* The slot that holds the key, and its entry, or SLOT_NONE. */
size_t bucket_find(
    const struct bucket *bucket, uint64_t hash, struct slice key, const struct entry **entry);

/* Asks for the entries that bucket_find() would look at, those of the spill aside. */
void bucket_prefetch(const struct bucket *bucket, uint64_t hash);

/* Makes room for `count` slots in all. 0, or -1 with errno; then nothing changed. */
int bucket_reserve(struct bucket *bucket, size_t count, struct budget *budget);

/* Gives back the room that is not needed. */
void bucket_trim(struct bucket *bucket, struct budget *budget);

/*
 * Adds an entry. 0, or -1 with errno ENOSPC or ENOMEM; then nothing changed. The key must be a new
 * one.
 */
int bucket_add(struct bucket *bucket, uint64_t hash, struct slice key, const struct item *item,
    struct budget *budget);

/* Gives the entry of slot n another item. 0, or -1 with errno; then nothing changed. */
int bucket_replace(struct bucket *bucket, size_t n, const struct item *item, struct budget *budget);

/* Frees the entry of slot n; the last slot takes its place. */
void bucket_delete(struct bucket *bucket, size_t n, struct budget *budget);

/* Moves slot n to another bucket, which has room; the last slot takes its place. */
void bucket_move(struct bucket *from, size_t n, struct bucket *to);

/* Frees all entries and the spill. */
void bucket_clear(struct bucket *bucket, struct budget *budget);

#endif
