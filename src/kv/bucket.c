/* Entries, the slots that lead to them, and the rows of slots. */
#include "kv/bucket.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "core/little_endian.h"
#include "kv/entry.h"
#include "kv/slab.h"

/*
 * A slot in one word: the entry's tag in bits 56-63, its address in bits 0-47. Linux hands out no
 * address beyond those to a program that does not ask for it. The tag is eight bits of the hash.
 * Entries are aligned, and the low bits of the address are free for marks.
 */
#define TAG_SHIFT 56
#define ADDRESS_BITS 0xffffffffffffu
#define MARK_USED 1u
#define MARK_PROVEN 2u
#define MARKS (SLAB_GRAIN - 1u)
#define ADDRESS_MASK (ADDRESS_BITS & ~(uint64_t)MARKS)

struct spill {
	uint32_t count, capacity;
	uint64_t slots[];
};

static struct entry *entry_new(
    struct slice key, const struct item *item, size_t instead_of, struct slabs *slabs)
{
	size_t size = entry_size(key, item);
	struct entry *entry = slab_alloc(slabs, size, instead_of);
	uint64_t address = (uintptr_t)entry;

	if (entry == NULL)
		return NULL;
	if (address > ADDRESS_BITS) {
		slab_free(slabs, entry, size);
		errno = ENOMEM;
		return NULL;
	}
	entry_write(entry, key, item);
	return entry;
}

static size_t entry_own_size(const struct entry *entry)
{
	struct slice key;
	struct item item;

	entry_read(entry, &key, &item);
	return (size_t)(item.value.bytes + item.value.length - (const char *)entry);
}

static struct moved_entry entry_free(struct entry *entry, struct slabs *slabs)
{
	return (struct moved_entry){ slab_free(slabs, entry, entry_own_size(entry)), entry };
}

/* Never 0, which marks a free slot. */
static uint8_t tag_of(uint64_t hash)
{
	uint8_t tag = (uint8_t)(hash >> TAG_SHIFT);

	return tag == 0 ? 1 : tag;
}

static uint64_t slot_new(const struct entry *entry, uint8_t tag)
{
	return (uint64_t)tag << TAG_SHIFT | (uint64_t)(uintptr_t)entry;
}

/* The slot with another address. */
static uint64_t slot_at_entry(uint64_t slot, const struct entry *entry)
{
	return (slot & ~ADDRESS_MASK) | (uint64_t)(uintptr_t)entry;
}

static uint8_t slot_tag(uint64_t slot)
{
	return (uint8_t)(slot >> TAG_SHIFT);
}

static struct entry *slot_entry(uint64_t slot)
{
	return (struct entry *)(uintptr_t)(slot & ADDRESS_MASK);
}

static struct spill *spill_of(const struct bucket *bucket)
{
	return (struct spill *)(uintptr_t)((uint64_t)bucket->spill_high << 32 | bucket->spill_low);
}

static void spill_set(struct bucket *bucket, struct spill *spill)
{
	bucket->spill_low = (uint32_t)(uintptr_t)spill;
	bucket->spill_high = (uint16_t)((uint64_t)(uintptr_t)spill >> 32);
}

static uint64_t line_slot(const struct bucket *bucket, size_t n)
{
	return (uint64_t)bucket->tags[n] << TAG_SHIFT | (uint64_t)bucket->address_high[n] << 32 |
	       bucket->address_low[n];
}

static uint64_t slot_at(const struct bucket *bucket, size_t n)
{
	return n < LINE_SLOTS ? line_slot(bucket, n) : spill_of(bucket)->slots[n - LINE_SLOTS];
}

static void slot_put(struct bucket *bucket, size_t n, uint64_t slot)
{
	if (n >= LINE_SLOTS) {
		spill_of(bucket)->slots[n - LINE_SLOTS] = slot;
		return;
	}
	bucket->tags[n] = slot_tag(slot);
	bucket->address_high[n] = (uint16_t)(slot >> 32);
	bucket->address_low[n] = (uint32_t)slot;
}

/* Compares all tags of the line at once: the high bit of byte n is set when that of slot n is it. */
static uint64_t line_matches(const struct bucket *bucket, uint8_t tag)
{
	const uint64_t ones = 0x0101010101010101, low_bits = 0x7f7f7f7f7f7f7f7f;
	uint64_t difference = le64_get(bucket->tags) ^ ones * tag;

	/* No carry leaves its byte: exactly the bytes that are 0 come out with the high bit set. */
	return ~(((difference & low_bits) + low_bits) | difference | low_bits);
}

static size_t first_match(uint64_t matches)
{
	return (size_t)__builtin_ctzll(matches) / 8;
}

size_t bucket_count(const struct bucket *bucket)
{
	uint64_t free_slots = line_matches(bucket, 0);
	const struct spill *spill;

	if (free_slots != 0)
		return first_match(free_slots);
	spill = spill_of(bucket);
	return LINE_SLOTS + (spill == NULL ? 0 : spill->count);
}

struct entry *bucket_entry(const struct bucket *bucket, size_t n)
{
	return slot_entry(slot_at(bucket, n));
}

size_t bucket_find(const struct bucket *bucket, uint64_t hash, struct slice key, struct item *item)
{
	uint8_t tag = tag_of(hash);
	const struct spill *spill;

	for (uint64_t left = line_matches(bucket, tag); left != 0; left &= left - 1) {
		size_t n = first_match(left);

		if (entry_has_key(slot_entry(line_slot(bucket, n)), key, item))
			return n;
	}
	spill = spill_of(bucket);
	for (size_t i = 0; spill != NULL && i < spill->count; i++)
		if (slot_tag(spill->slots[i]) == tag &&
		    entry_has_key(slot_entry(spill->slots[i]), key, item))
			return LINE_SLOTS + i;
	return SLOT_NONE;
}

void bucket_prefetch(const struct bucket *bucket, uint64_t hash)
{
	for (uint64_t left = line_matches(bucket, tag_of(hash)); left != 0; left &= left - 1) {
		const char *entry = (const char *)bucket_entry(bucket, first_match(left));

		__builtin_prefetch(entry);
		__builtin_prefetch(entry + LINE_SIZE);
	}
}

static size_t spill_size(size_t capacity)
{
	return offsetof(struct spill, slots) + capacity * sizeof(uint64_t);
}

/* An even number of slots: one more costs nothing, for the sake of the allocator's 16 bytes. */
static int spill_resize(struct bucket *bucket, size_t slots, struct slabs *slabs)
{
	struct spill *old = spill_of(bucket), *spill;
	size_t capacity = (slots + 1) / 2 * 2;
	size_t old_size = old == NULL ? 0 : spill_size(old->capacity);

	spill = budget_realloc(&slabs->budget, old, old_size, spill_size(capacity));
	if (spill == NULL)
		return -1;
	if (old == NULL)
		spill->count = 0;
	spill->capacity = (uint32_t)capacity;
	spill_set(bucket, spill);
	return 0;
}

static void spill_free(struct bucket *bucket, struct slabs *slabs)
{
	struct spill *spill = spill_of(bucket);

	budget_free(&slabs->budget, spill, spill_size(spill->capacity));
	spill_set(bucket, NULL);
}

int bucket_reserve(struct bucket *bucket, size_t count, struct slabs *slabs)
{
	const struct spill *spill = spill_of(bucket);
	size_t capacity = LINE_SLOTS + (spill == NULL ? 0 : spill->capacity);

	return count <= capacity ? 0 : spill_resize(bucket, count - LINE_SLOTS, slabs);
}

void bucket_trim(struct bucket *bucket, struct slabs *slabs)
{
	const struct spill *spill = spill_of(bucket);

	if (spill == NULL)
		return;
	if (spill->count == 0)
		spill_free(bucket, slabs);
	else if (spill->capacity - spill->count > 1)
		(void)spill_resize(bucket, spill->count, slabs); /* if not, it stays larger */
}

/* The room has been reserved. */
static void slot_append(struct bucket *bucket, uint64_t slot)
{
	size_t n = bucket_count(bucket);

	if (n >= LINE_SLOTS)
		spill_of(bucket)->count++;
	slot_put(bucket, n, slot);
}

static void slot_remove(struct bucket *bucket, size_t n)
{
	size_t last = bucket_count(bucket) - 1;

	slot_put(bucket, n, slot_at(bucket, last));
	if (last >= LINE_SLOTS)
		spill_of(bucket)->count--;
	else
		bucket->tags[last] = 0;
}

int bucket_add(struct bucket *bucket, uint64_t hash, struct slice key, const struct item *item,
    struct slabs *slabs)
{
	struct entry *entry;

	if (bucket_reserve(bucket, bucket_count(bucket) + 1, slabs) == -1)
		return -1;
	entry = entry_new(key, item, 0, slabs);
	if (entry == NULL) {
		bucket_trim(bucket, slabs);
		return -1;
	}
	slot_append(bucket, slot_new(entry, tag_of(hash)));
	return 0;
}

int bucket_replace(struct bucket *bucket, size_t n, const struct item *item, struct slabs *slabs,
    struct moved_entry *moved)
{
	uint64_t slot = slot_at(bucket, n);
	struct entry *old = slot_entry(slot), *entry;
	size_t old_size, header, size;
	struct item old_item;
	struct slice key;

	entry_read(old, &key, &old_item);
	old_size = (size_t)(old_item.value.bytes + old_item.value.length - (const char *)old);
	header = entry_header_size(key, item);
	size = header + key.length + item->value.length;
	*moved = (struct moved_entry){ .from = NULL };
	if (slab_usable_size(size) == slab_usable_size(old_size) &&
	    header == (size_t)(key.bytes - (const char *)old)) {
		entry_write_item(old, item);
		return 0;
	}
	entry = entry_new(key, item, old_size, slabs);
	if (entry == NULL)
		return -1;
	slot_put(bucket, n, slot_at_entry(slot, entry));
	*moved = entry_free(old, slabs);
	return 0;
}

struct moved_entry bucket_delete(struct bucket *bucket, size_t n, struct slabs *slabs)
{
	struct moved_entry moved = entry_free(bucket_entry(bucket, n), slabs);

	slot_remove(bucket, n);
	bucket_trim(bucket, slabs);
	return moved;
}

void bucket_correct(struct bucket *bucket, const struct moved_entry *moved)
{
	size_t n = 0;

	while (bucket_entry(bucket, n) != moved->from)
		n++;
	slot_put(bucket, n, slot_at_entry(slot_at(bucket, n), moved->to));
}

void bucket_move(struct bucket *from, size_t n, struct bucket *to)
{
	slot_append(to, slot_at(from, n));
	slot_remove(from, n);
}

void bucket_clear(struct bucket *bucket, struct slabs *slabs)
{
	for (size_t n = slabs->chunks == 0 ? 0 : bucket_count(bucket); n-- > 0;) {
		struct entry *entry = bucket_entry(bucket, n);

		if (entry_own_size(entry) > SLAB_CELL_MAX)
			entry_free(entry, slabs);
	}
	if (spill_of(bucket) != NULL)
		spill_free(bucket, slabs);
	memset(bucket->tags, 0, sizeof(bucket->tags));
}

void bucket_mark_used(struct bucket *bucket, size_t n)
{
	uint64_t slot = slot_at(bucket, n);

	if (!(slot & MARK_USED)) /* else the line stays clean */
		slot_put(bucket, n, slot | MARK_USED);
}

void bucket_mark_proven(struct bucket *bucket, size_t n)
{
	slot_put(bucket, n, slot_at(bucket, n) | MARK_PROVEN);
}

bool bucket_is_proven(const struct bucket *bucket, size_t n)
{
	return slot_at(bucket, n) & MARK_PROVEN;
}

bool bucket_recall(struct bucket *bucket, uint64_t hash)
{
	for (size_t i = 0; i < sizeof(bucket->evicted); i++) {
		if (bucket->evicted[i] == tag_of(hash)) {
			bucket->evicted[i] = 0;
			return true;
		}
	}
	return false;
}

size_t bucket_unused_newcomer(struct bucket *bucket, size_t *proven)
{
	size_t count = bucket_count(bucket);

	for (size_t n = 0; n < count; n++) {
		uint64_t slot = slot_at(bucket, n);

		if ((slot & (MARK_PROVEN | MARK_USED)) == 0)
			return n;
		if (!(slot & MARK_PROVEN)) {
			slot_put(bucket, n, slot | MARK_PROVEN);
			++*proven;
		}
	}
	return SLOT_NONE;
}

size_t bucket_unused_proven(struct bucket *bucket)
{
	size_t count = bucket_count(bucket);

	for (size_t n = 0; n < count; n++)
		if ((slot_at(bucket, n) & (MARK_PROVEN | MARK_USED)) == MARK_PROVEN)
			return n;
	for (size_t n = 0; n < count; n++)
		if (bucket_is_proven(bucket, n))
			slot_put(bucket, n, slot_at(bucket, n) & ~(uint64_t)MARK_USED);
	return SLOT_NONE;
}

void bucket_note_eviction(struct bucket *bucket, size_t n)
{
	bucket->evicted[1] = bucket->evicted[0];
	bucket->evicted[0] = slot_tag(slot_at(bucket, n));
}
