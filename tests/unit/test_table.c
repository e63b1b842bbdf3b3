/*
 * The table against a model of a small universe of keys, and its promises one by one: limits,
 * memory, bounded work, and staying whole when an allocation fails.
 */
#include "kv/table.h"

#include <check.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* An assertion for inner loops: libcheck writes each of its own to a file. */
#define require(condition)                                      \
	do {                                                    \
		if (!(condition))                               \
			ck_abort_msg("not so: %s", #condition); \
	} while (0)

/* --- allocations that fail on request; a sanitizer has an allocator of its own --- */

static bool table_at_work;

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CAN_FAIL_ALLOCATIONS 1

/* While the table is at work, one allocation in so many fails; 0 = none. */
static unsigned failure_period, failure_count;

void *__libc_malloc(size_t size);
void *__libc_realloc(void *memory, size_t size);
void *__libc_memalign(size_t alignment, size_t size);

static bool allocation_fails(void)
{
	if (!table_at_work || failure_period == 0 || ++failure_count % failure_period != 0)
		return false;
	errno = ENOMEM;
	return true;
}

void *malloc(size_t size)
{
	return allocation_fails() ? NULL : __libc_malloc(size);
}

void *realloc(void *memory, size_t size)
{
	return allocation_fails() ? NULL : __libc_realloc(memory, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
	return allocation_fails() ? NULL : __libc_memalign(alignment, size);
}
#endif

/* --- one key at a time --- */

static struct table_key prepared(const struct table *table, const void *bytes, size_t length)
{
	struct table_key key = { bytes, length, 0 };

	table_hash_and_prefetch(table, &key);
	return key;
}

static int get_item(struct table *table, const void *bytes, size_t length, struct item *item)
{
	struct table_key key = prepared(table, bytes, length);

	return table_get(table, &key, item);
}

static int get_bytes(struct table *table, const void *bytes, size_t length, struct slice *value)
{
	struct item item = { .expires = 0 };
	int found = get_item(table, bytes, length, &item);

	*value = item.value;
	return found;
}

static int set_item(struct table *table, const void *bytes, size_t length, const struct item *item)
{
	struct table_key key = prepared(table, bytes, length);

	return table_set(table, &key, item);
}

static int set_bytes(
    struct table *table, const void *bytes, size_t length, const void *value, size_t value_length)
{
	struct item item = { .value = { value, value_length } };

	return set_item(table, bytes, length, &item);
}

static int delete_bytes(struct table *table, const void *bytes, size_t length)
{
	struct table_key key = prepared(table, bytes, length);

	return table_delete(table, &key);
}

/* --- the model: every key of the universe has a version, and that says what its value is --- */

#define UNIVERSE 20000
#define KEY_SIZE 12
#define VALUE_SIZE 300

struct model {
	struct table *table;
	unsigned versions[UNIVERSE]; /* 0 = not there */
	bool seen[UNIVERSE];
	size_t entries, expiring;
	size_t empty;          /* the memory of the table without any */
	unsigned long refused; /* set_bytes() calls */
	bool evicts;
	unsigned long evicted;
	uint64_t random;
};

static uint64_t model_random(struct model *model)
{
	model->random ^= model->random << 13;
	model->random ^= model->random >> 7;
	model->random ^= model->random << 17;
	return model->random;
}

static size_t memory_of(const struct table *table)
{
	struct table_stats stats;

	table_stats(table, &stats);
	return stats.memory;
}

/* TABLE_SEED repeats a run. */
static struct model *model_new(void)
{
	struct model *model = calloc(1, sizeof(*model));
	const char *seed = getenv("TABLE_SEED");
	uint64_t number = seed != NULL ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);

	ck_assert_ptr_nonnull(model);
	model->table = table_new(0);
	ck_assert_ptr_nonnull(model->table);
	model->empty = memory_of(model->table);
	printf("TABLE_SEED=%llu\n", (unsigned long long)number);
	fflush(stdout);
	model->random = (number + 1) * 0x9e3779b97f4a7c15 | 1;
	return model;
}

/* Keys full of NULs, each the beginning of others. */
static size_t key_of(unsigned number, char key[KEY_SIZE])
{
	memset(key, 0, KEY_SIZE);
	memcpy(key, &number, sizeof(number));
	return sizeof(number) + number % (KEY_SIZE - sizeof(number) + 1);
}

/* The value is in `bytes`. A third of the items expire. */
static struct item item_of(unsigned number, unsigned version, char bytes[VALUE_SIZE])
{
	unsigned mixed = (number * 31 + version) * 2654435761u;

	memset(bytes, (int)(mixed >> 24), VALUE_SIZE);
	return (struct item){ .value = { bytes, (mixed >> 8) % VALUE_SIZE },
		.expires = mixed % 3 == 0 ? (int64_t)mixed << 20 | version : 0 };
}

static void assert_item(const struct item *item, unsigned number, unsigned version)
{
	char bytes[VALUE_SIZE];
	struct item expected = item_of(number, version, bytes);

	require(item->expires == expected.expires);
	require(item->value.length == expected.value.length);
	require(memcmp(item->value.bytes, bytes, item->value.length) == 0);
}

static bool model_expires(const struct model *model, unsigned number)
{
	char bytes[VALUE_SIZE];

	return model->versions[number] != 0 &&
	       item_of(number, model->versions[number], bytes).expires != 0;
}

static void model_check_key(const struct model *model, unsigned number)
{
	struct item item;
	char key[KEY_SIZE];
	int found = get_item(model->table, key, key_of(number, key), &item);

	require((found == 0) == (model->versions[number] != 0));
	if (found == 0)
		assert_item(&item, number, model->versions[number]);
}

static unsigned number_of(const char *key)
{
	unsigned number;

	memcpy(&number, key, sizeof(number));
	require(number < UNIVERSE);
	return number;
}

static void model_forget(struct model *model, unsigned number)
{
	model->entries -= model->versions[number] != 0;
	model->expiring -= model_expires(model, number);
	model->versions[number] = 0;
}

/* Deletes one, and says whether there was one. */
static bool model_evict(struct model *model)
{
	struct table_key key;

	if (table_victim(model->table, &key) == -1)
		return false;
	model_forget(model, number_of(key.bytes));
	require(table_delete(model->table, &key) == 0);
	model->evicted++;
	return true;
}

static void model_set(struct model *model, unsigned number)
{
	char key[KEY_SIZE], bytes[VALUE_SIZE];
	unsigned version = model->versions[number] + 1;
	size_t key_length = key_of(number, key);
	struct item item = item_of(number, version, bytes);
	int done;

	table_at_work = true;
	do
		done = set_item(model->table, key, key_length, &item);
	while (done == -1 && errno == ENOSPC && model->evicts && model_evict(model));
	table_at_work = false;
	if (done == -1) {
		require(errno == ENOMEM || errno == ENOSPC);
		model->refused++;
		return;
	}
	model->entries += model->versions[number] == 0;
	model->expiring -= model_expires(model, number);
	model->versions[number] = version;
	model->expiring += model_expires(model, number);
}

static void model_delete(struct model *model, unsigned number)
{
	char key[KEY_SIZE];
	size_t key_length = key_of(number, key);
	int done;

	table_at_work = true;
	done = delete_bytes(model->table, key, key_length);
	table_at_work = false;
	require((done == 0) == (model->versions[number] != 0));
	model_forget(model, number);
}

static int see(void *arg, const struct slice *key, const struct item *item)
{
	struct model *model = arg;
	char expected[KEY_SIZE];
	unsigned number;

	require(key->length >= sizeof(number));
	number = number_of(key->bytes);
	require(key->length == key_of(number, expected));
	require(memcmp(key->bytes, expected, key->length) == 0);
	require(!model->seen[number]);
	model->seen[number] = true;
	assert_item(item, number, model->versions[number]);
	return 0;
}

/* Each entry once, none too many, every key found or not as it should be. */
static void model_check(struct model *model)
{
	struct table_stats stats;
	uint64_t cursor = 0;

	memset(model->seen, 0, sizeof(model->seen));
	do
		cursor = table_scan(model->table, cursor, see, model);
	while (cursor != 0);
	for (unsigned number = 0; number < UNIVERSE; number++) {
		require(model->seen[number] == (model->versions[number] != 0));
		model_check_key(model, number);
	}
	table_stats(model->table, &stats);
	require(stats.entries == model->entries);
	require(stats.expiring == model->expiring);
}

/* A key in so many of ten thousand operations is set, the others are deleted. */
static void model_run(struct model *model, unsigned operations, unsigned sets)
{
	while (operations-- > 0) {
		unsigned number = (unsigned)(model_random(model) >> 20) % UNIVERSE;

		if (model_random(model) >> 20 & 1)
			model_check_key(model, number);
		if ((model_random(model) >> 20) % 10000 < sets)
			model_set(model, number);
		else
			model_delete(model, number);
	}
	model_check(model);
}

/* Deletes everything, which gives all memory back. */
static void model_free_emptied(struct model *model)
{
	for (unsigned number = 0; number < UNIVERSE; number++)
		model_delete(model, number);
	ck_assert_uint_eq(memory_of(model->table), model->empty);
	table_free(model->table);
	free(model);
}

static int set_text(struct table *table, const char *key, const char *value)
{
	return set_bytes(table, key, strlen(key), value, strlen(value));
}

static void assert_text(struct table *table, const char *key, const char *text)
{
	struct slice value;

	ck_assert_int_eq(get_bytes(table, key, strlen(key), &value), 0);
	ck_assert_uint_eq(value.length, strlen(text));
	ck_assert(memcmp(value.bytes, text, value.length) == 0);
}

/* --- the tests --- */

START_TEST(an_empty_table)
{
	struct table *table = table_new(0);
	struct slice value;
	struct table_stats stats;

	ck_assert_int_eq(get_bytes(table, "a", 1, &value), -1);
	ck_assert_int_eq(delete_bytes(table, "a", 1), -1);
	table_stats(table, &stats);
	ck_assert_uint_eq(stats.entries, 0);
	ck_assert_uint_eq(stats.buckets, 1);
	table_free(table);
	table_free(NULL);
}
END_TEST

START_TEST(behaves_like_the_model)
{
	struct model *model = model_new();

	for (int round = 0; round < 3; round++) {
		model_run(model, 200000, 9900); /* fills up */
		model_run(model, 200000, 5000);
		model_run(model, 200000, 1000);
		model_run(model, 100000, 10); /* nearly empties */
	}
	ck_assert_uint_eq(model->refused, 0);
	model_free_emptied(model);
}
END_TEST

START_TEST(behaves_like_the_model_when_full)
{
	struct model *model = model_new();

	table_set_max_memory(model->table, 1000000);
	for (int round = 0; round < 5; round++) {
		model_run(model, 50000, 9000);
		ck_assert_uint_gt(memory_of(model->table), 900000);
		/* Values that shrink may exceed it by some pages of cells. */
		ck_assert_uint_le(memory_of(model->table), 1100000);
		model_run(model, 20000, 3000);
	}
	ck_assert_uint_gt(model->refused, 0);
	model_free_emptied(model);
}
END_TEST

START_TEST(behaves_like_the_model_when_evicting)
{
	struct model *model = model_new();

	table_set_max_memory(model->table, 1000000);
	table_set_eviction(model->table, true);
	model->evicts = true;
	for (int round = 0; round < 5; round++) {
		model_run(model, 50000, 9000);
		ck_assert_uint_gt(memory_of(model->table), 900000);
		ck_assert_uint_le(memory_of(model->table), 1100000);
		model_run(model, 20000, 3000);
		model->evicts = round % 2 == 0; /* as a reload can change it */
		table_set_eviction(model->table, model->evicts);
	}
	ck_assert_uint_gt(model->evicted, 10000);
	model_free_emptied(model);
}
END_TEST

#ifdef CAN_FAIL_ALLOCATIONS
START_TEST(stays_whole_without_memory)
{
	struct model *model = model_new();

	for (unsigned period = 1; period < 8; period++) {
		model->refused = 0;
		failure_period = period;
		model_run(model, 40000, 9000);
		ck_assert_uint_gt(model->refused, 0);
		model_run(model, 80000, 200);
		failure_period = 0;
		model_run(model, 20000, 9000);
	}
	model_free_emptied(model);
}
END_TEST
#endif

/* Many keys, known and unknown ones and an empty one, and the table changes behind their back. */
START_TEST(keys_stay_prepared)
{
	struct table *table = table_new(0);
	struct table_key keys[40];
	const struct item one = { .value = { "one", 3 } };
	struct slice value;
	struct item item;

	for (size_t i = 0; i < 40; i++) {
		keys[i] =
		    (struct table_key){ "0123456789abcdefghijklmnopqrstuvwxyz----" + i, i % 3, 0 };
		table_hash_and_prefetch(table, &keys[i]);
	}
	for (size_t i = 0; i < 40; i++)
		table_prefetch_entry(table, &keys[i]);
	for (unsigned i = 0; i < 1000; i++)
		ck_assert_int_eq(set_bytes(table, &i, sizeof(i), "x", 1), 0);
	ck_assert_int_eq(table_set(table, &keys[1], &one), 0);
	ck_assert_int_eq(get_bytes(table, "1", 1, &value), 0);
	ck_assert_mem_eq(value.bytes, "one", 3);
	ck_assert_int_eq(table_get(table, &keys[2], &item), -1);
	ck_assert_int_eq(table_delete(table, &keys[1]), 0);
	ck_assert_int_eq(get_bytes(table, "1", 1, &value), -1);
	table_free(table);
}
END_TEST

START_TEST(keys_are_bytes)
{
	struct table *table = table_new(0);
	struct slice value;

	ck_assert_int_eq(set_bytes(table, "a\0b", 3, "1", 1), 0);
	ck_assert_int_eq(set_bytes(table, "a\0c", 3, "2", 1), 0);
	ck_assert_int_eq(set_bytes(table, "a", 1, "3", 1), 0);
	ck_assert_int_eq(set_bytes(table, "a\0", 2, "4", 1), 0);
	ck_assert_int_eq(set_bytes(table, "", 0, "5", 1), 0);
	ck_assert_int_eq(get_bytes(table, "a\0b", 3, &value), 0);
	ck_assert(memcmp(value.bytes, "1", 1) == 0);
	ck_assert_int_eq(get_bytes(table, "a\0", 2, &value), 0);
	ck_assert(memcmp(value.bytes, "4", 1) == 0);
	assert_text(table, "", "5");
	assert_text(table, "a", "3");
	ck_assert_int_eq(delete_bytes(table, NULL, 0), 0);
	ck_assert_int_eq(get_bytes(table, "", 0, &value), -1);
	table_free(table);
}
END_TEST

/* Many enough that some share bucket and tag. */
START_TEST(the_beginning_of_a_key_is_another_key)
{
	struct table *table = table_new(0);
	char key[4096] = { 0 };
	struct slice value;

	ck_assert_int_eq(set_bytes(table, key, sizeof(key), "v", 1), 0);
	for (size_t length = 0; length < sizeof(key); length++)
		require(get_bytes(table, key, length, &value) == -1);
	ck_assert_int_eq(get_bytes(table, key, sizeof(key), &value), 0);
	table_free(table);
}
END_TEST

START_TEST(a_value_may_be_empty)
{
	struct table *table = table_new(0);

	ck_assert_int_eq(set_bytes(table, "key", 3, NULL, 0), 0);
	assert_text(table, "key", "");
	ck_assert_int_eq(set_text(table, "key", "value"), 0);
	assert_text(table, "key", "value");
	ck_assert_int_eq(set_bytes(table, "key", 3, NULL, 0), 0);
	assert_text(table, "key", "");
	table_free(table);
}
END_TEST

START_TEST(lengths_have_limits)
{
	struct table *table = table_new(0);
	size_t empty = memory_of(table);
	char *key = calloc(1, TABLE_KEY_MAX + 1), *bytes = calloc(1, 1 << 20);
	struct slice value;

	bytes[(1 << 20) - 1] = 'z';
	ck_assert_int_eq(set_bytes(table, key, TABLE_KEY_MAX + 1, "v", 1), -1);
	ck_assert_int_eq(errno, E2BIG);
	errno = 0;
#if SIZE_MAX > TABLE_VALUE_MAX
	ck_assert_int_eq(set_bytes(table, "k", 1, "v", (size_t)TABLE_VALUE_MAX + 1), -1);
	ck_assert_int_eq(errno, E2BIG);
#endif
	ck_assert_uint_eq(memory_of(table), empty);

	ck_assert_int_eq(set_bytes(table, key, TABLE_KEY_MAX, bytes, 1 << 20), 0);
	ck_assert_int_eq(get_bytes(table, key, TABLE_KEY_MAX, &value), 0);
	ck_assert_uint_eq(value.length, 1 << 20);
	ck_assert(memcmp(value.bytes, bytes, 1 << 20) == 0);
	ck_assert_int_eq(get_bytes(table, key, TABLE_KEY_MAX - 1, &value), -1);
	/* A key that is too long for the table is not taken for its first bytes. */
	ck_assert_int_eq(get_bytes(table, key, TABLE_KEY_MAX + 1, &value), -1);
	ck_assert_int_eq(delete_bytes(table, key, TABLE_KEY_MAX), 0);
	ck_assert_uint_eq(memory_of(table), empty);
	free(key);
	free(bytes);
	table_free(table);
}
END_TEST

START_TEST(a_value_may_come_from_the_table)
{
	struct table *table = table_new(0);
	struct slice value;

	ck_assert_int_eq(set_text(table, "key", "0123456789012345678901234567890123456789"), 0);
	ck_assert_int_eq(get_bytes(table, "key", 3, &value), 0);
	ck_assert_int_eq(set_bytes(table, "key", 3, value.bytes + 1, value.length - 1), 0);
	assert_text(table, "key", "123456789012345678901234567890123456789");
	ck_assert_int_eq(get_bytes(table, "key", 3, &value), 0);
	ck_assert_int_eq(set_bytes(table, "key", 3, value.bytes + 30, 9), 0);
	assert_text(table, "key", "123456789");
	table_free(table);
}
END_TEST

/* Memory that one more entry of that value takes. */
static size_t entry_cost(size_t value_length)
{
	struct table *table = table_new(0);
	size_t empty = memory_of(table), cost;
	char value[200] = { 0 };

	ck_assert_int_eq(set_bytes(table, "a", 1, value, value_length), 0);
	cost = memory_of(table) - empty;
	table_free(table);
	return cost;
}

START_TEST(max_memory_is_exact)
{
	struct table *table = table_new(0);
	char bytes[200] = { 0 };
	size_t limit = memory_of(table) + entry_cost(100);
	struct slice value;

	table_set_max_memory(table, limit - 1);
	ck_assert_int_eq(set_bytes(table, "a", 1, bytes, 100), -1);
	ck_assert_int_eq(errno, ENOSPC);
	ck_assert_int_eq(get_bytes(table, "a", 1, &value), -1);
	ck_assert_uint_eq(memory_of(table), limit - entry_cost(100));

	table_set_max_memory(table, limit);
	ck_assert_int_eq(set_bytes(table, "a", 1, bytes, 100), 0);
	ck_assert_uint_eq(memory_of(table), limit);
	ck_assert_int_eq(set_bytes(table, "b", 1, bytes, 0), -1);
	ck_assert_int_eq(errno, ENOSPC);
	ck_assert_int_eq(set_bytes(table, "a", 1, bytes, 150), -1);
	ck_assert_int_eq(errno, ENOSPC);
	ck_assert_int_eq(get_bytes(table, "a", 1, &value), 0);
	ck_assert_uint_eq(value.length, 100);
	ck_assert_int_eq(set_bytes(table, "a", 1, bytes, 100), 0);
	ck_assert_int_eq(delete_bytes(table, "a", 1), 0);
	ck_assert_int_eq(set_bytes(table, "b", 1, bytes, 100), 0);
	table_free(table);
}
END_TEST

START_TEST(a_lowered_limit_lets_values_shrink)
{
	struct table *table = table_new(0);
	char bytes[200] = { 0 };
	struct slice value;

	ck_assert_int_eq(set_bytes(table, "a", 1, bytes, 200), 0);
	table_set_max_memory(table, 1);
	ck_assert_int_eq(set_bytes(table, "a", 1, bytes, 100), 0);
	ck_assert_int_eq(get_bytes(table, "a", 1, &value), 0);
	ck_assert_uint_eq(value.length, 100);
	ck_assert_int_eq(set_bytes(table, "a", 1, bytes, 200), -1);
	ck_assert_int_eq(errno, ENOSPC);
	ck_assert_int_eq(delete_bytes(table, "a", 1), 0);
	table_set_max_memory(table, 0);
	ck_assert_int_eq(set_bytes(table, "a", 1, bytes, 200), 0);
	table_free(table);
}
END_TEST

START_TEST(a_table_past_its_limit_gives_memory_back)
{
	struct table *table = table_new(0);
	struct table_stats stats;
	size_t empty = memory_of(table);

	for (unsigned number = 0; number < 10000; number++)
		ck_assert_int_eq(set_bytes(table, &number, sizeof(number), "v", 1), 0);
	table_set_max_memory(table, empty);
	for (unsigned number = 0; number < 10000; number++) {
		require(delete_bytes(table, &number, sizeof(number)) == 0);
		table_stats(table, &stats);
		require(stats.entries + 3 >= (stats.buckets - 1) * 3);
	}
	ck_assert_uint_eq(memory_of(table), empty);
	table_free(table);
}
END_TEST

/* --- scans --- */

#define STEADY 3000 /* keys that are there throughout; those above come and go */

struct scan {
	struct table *table;
	unsigned visits[STEADY];
	size_t calls;
};

static int scan_entry(void *arg, const struct slice *key, const struct item *item)
{
	struct scan *scan = arg;
	unsigned number;

	(void)item;
	memcpy(&number, key->bytes, sizeof(number));
	if (number < STEADY)
		scan->visits[number]++;
	return 0;
}

/* `count` keys above STEADY, from nothing or to nothing. */
static void scan_others(struct scan *scan, unsigned count, bool there)
{
	for (unsigned number = STEADY; number < STEADY + count; number++)
		require((there ? set_bytes(scan->table, &number, sizeof(number), "v", 1)
			       : delete_bytes(scan->table, &number, sizeof(number))) == 0);
}

static void scan_start(struct scan *scan)
{
	*scan = (struct scan){ .table = table_new(0) };
	for (unsigned number = 0; number < STEADY; number++)
		require(set_bytes(scan->table, &number, sizeof(number), "v", 1) == 0);
}

START_TEST(a_scan_sees_each_entry_once)
{
	struct table_stats stats;
	struct scan scan;
	uint64_t cursor = 0;

	scan_start(&scan);
	table_stats(scan.table, &stats);
	do {
		cursor = table_scan(scan.table, cursor, scan_entry, &scan);
		scan.calls++;
	} while (cursor != 0);
	ck_assert_uint_eq(scan.calls, stats.buckets);
	for (unsigned number = 0; number < STEADY; number++)
		require(scan.visits[number] == 1);
	table_free(scan.table);
}
END_TEST

/* The table has between 500 and 17,000 buckets, and is of another size at each call or at every hundredth. */
START_TEST(a_scan_misses_nothing_while_the_table_changes)
{
	for (unsigned period = 1; period <= 200; period += 33) {
		struct scan scan;
		uint64_t cursor = 0;
		bool there = false;

		scan_start(&scan);
		do {
			cursor = table_scan(scan.table, cursor, scan_entry, &scan);
			if (++scan.calls % period == 0)
				scan_others(&scan, 500 * period, there = !there);
		} while (cursor != 0);
		for (unsigned number = 0; number < STEADY; number++)
			require(scan.visits[number] > 0);
		table_free(scan.table);
	}
}
END_TEST

static int refuse_entry(void *arg, const struct slice *key, const struct item *item)
{
	unsigned *calls = arg;

	(void)key;
	(void)item;
	++*calls;
	return 1;
}

START_TEST(a_scan_that_is_stopped_sees_the_bucket_again)
{
	struct scan scan;
	unsigned calls = 0;
	uint64_t cursor = 0, next;

	scan_start(&scan);
	do {
		while ((next = table_scan(scan.table, cursor, refuse_entry, &calls)) != cursor)
			cursor = next; /* an empty bucket */
		ck_assert_uint_eq(calls, 1);
		calls = 0;
		cursor = table_scan(scan.table, cursor, scan_entry, &scan);
	} while (cursor != 0);
	for (unsigned number = 0; number < STEADY; number++)
		require(scan.visits[number] == 1);
	table_free(scan.table);
}
END_TEST

/* A cursor that a client has made up. */
START_TEST(a_scan_from_anywhere_ends)
{
	const uint64_t cursors[] = { 1, 499, 500, 65535, UINT64_MAX, UINT64_MAX - 1,
		(uint64_t)1 << 63 };
	struct scan scan;

	scan_start(&scan);
	for (size_t i = 0; i < sizeof(cursors) / sizeof(*cursors); i++) {
		uint64_t cursor = cursors[i];

		for (unsigned calls = 0; cursor != 0; calls++) {
			require(calls < 1000);
			cursor = table_scan(scan.table, cursor, scan_entry, &scan);
		}
	}
	table_free(scan.table);
}
END_TEST

START_TEST(only_an_entry_that_expires_pays_for_it)
{
	struct table *table = table_new(0);
	size_t empty = memory_of(table), without;
	struct item item = { .value = { "0123456789", 10 } }, found;
	struct table_stats stats;

	ck_assert_int_eq(set_item(table, "0123456789", 10, &item), 0);
	without = memory_of(table);
	item.expires = INT64_MAX;
	ck_assert_int_eq(set_item(table, "0123456789", 10, &item), 0);
	ck_assert_uint_ge(memory_of(table), without);
	ck_assert_uint_le(memory_of(table), without + 16);
	table_stats(table, &stats);
	ck_assert_uint_eq(stats.expiring, 1);
	/* Its own value, with another time. */
	ck_assert_int_eq(get_item(table, "0123456789", 10, &found), 0);
	ck_assert_int_eq(found.expires, INT64_MAX);
	found.expires = 1;
	ck_assert_int_eq(set_item(table, "0123456789", 10, &found), 0);
	ck_assert_int_eq(get_item(table, "0123456789", 10, &found), 0);
	ck_assert_int_eq(found.expires, 1);
	found.expires = 0;
	ck_assert_int_eq(set_item(table, "0123456789", 10, &found), 0);
	assert_text(table, "0123456789", "0123456789");
	ck_assert_uint_eq(memory_of(table), without);
	table_stats(table, &stats);
	ck_assert_uint_eq(stats.expiring, 0);
	ck_assert_int_eq(delete_bytes(table, "0123456789", 10), 0);
	ck_assert_uint_eq(memory_of(table), empty);
	table_free(table);
}
END_TEST

#define MANY 300000

/* One bucket per call at most, both ways, and the load stays between its bounds. */
START_TEST(grows_and_shrinks_by_one_bucket)
{
	struct table *table = table_new(0);
	struct table_stats before, after;
	size_t empty = memory_of(table);

	table_stats(table, &before);
	for (unsigned number = 0; number < MANY; number++, before = after) {
		require(set_bytes(table, &number, sizeof(number), "v", 1) == 0);
		table_stats(table, &after);
		require(after.buckets <= before.buckets + 1);
		require(after.buckets >= before.buckets);
		require(after.memory <= before.memory + 64000);
		require(after.entries <= after.buckets * 6);
	}
	ck_assert_uint_le(after.buckets, MANY / 6 + 1);
	for (unsigned number = 0; number < MANY; number++, before = after) {
		require(delete_bytes(table, &number, sizeof(number)) == 0);
		table_stats(table, &after);
		require(after.buckets <= before.buckets);
		require(after.buckets >= before.buckets - 1);
		require(after.entries + 3 >= (after.buckets - 1) * 3);
	}
	ck_assert_uint_eq(after.buckets, 1);
	ck_assert_uint_eq(after.memory, empty);
	table_free(table);
}
END_TEST

static void set_numbered(struct table *table, unsigned number, int64_t expires)
{
	char key[15], value[64] = { 0 };
	const struct item item = { .value = { value, sizeof(value) }, .expires = expires };

	snprintf(key, sizeof(key), "key:%010u", number);
	require(set_item(table, key, 14, &item) == 0);
}

/* What 14-byte keys and 64-byte values take beyond that at most, wherever in a doubling. */
static void assert_cost(int64_t expires, size_t bytes)
{
	struct table *table = table_new(0);

	for (unsigned number = 1; number <= MANY; number++) {
		set_numbered(table, number, expires);
		if (number >= MANY / 3 && number % 1000 == 0)
			require(memory_of(table) < (size_t)number * (78 + bytes));
	}
	table_free(table);
}

START_TEST(costs_little_memory)
{
	assert_cost(0, 16);
	assert_cost(1, 24);
}
END_TEST

/* Whichever keys go: nine of ten are deleted in an order that has nothing to do with that of their setting. */
START_TEST(gives_memory_back)
{
	struct table *table = table_new(0);
	size_t full;

	for (unsigned number = 0; number < MANY; number++)
		set_numbered(table, number, 0);
	full = memory_of(table);
	for (unsigned i = 0; i < MANY / 10 * 9; i++) {
		char key[15];

		snprintf(key, sizeof(key), "key:%010u", (unsigned)((uint64_t)i * 123457 % MANY));
		require(delete_bytes(table, key, 14) == 0);
	}
	ck_assert_uint_lt(memory_of(table), full / 8);
	table_free(table);
}
END_TEST

/* --- eviction --- */

#define CACHED 6000 /* numbers that fit */

/* A full table that evicts. */
static struct table *cache_new(void)
{
	struct table *table = table_new(0);

	table_set_eviction(table, true);
	for (unsigned number = 0; number < CACHED; number++)
		set_numbered(table, number, 0);
	table_set_max_memory(table, memory_of(table));
	return table;
}

static bool cache_has(struct table *table, unsigned number)
{
	struct item item;
	char key[15];

	snprintf(key, sizeof(key), "key:%010u", number);
	return get_item(table, key, 14, &item) == 0;
}

/* Sets it in the place of others, and returns of how many. */
static size_t cache_add(struct table *table, unsigned number)
{
	char key[15], value[64] = { 0 };
	const struct item item = { .value = { value, sizeof(value) } };
	struct table_key victim;
	size_t victims = 0;

	snprintf(key, sizeof(key), "key:%010u", number);
	for (; set_item(table, key, 14, &item) == -1; victims++) {
		require(errno == ENOSPC);
		require(table_victim(table, &victim) == 0);
		require(table_delete(table, &victim) == 0);
	}
	return victims;
}

/* Those are used; how many of the first `count` are there. */
static size_t cache_use(struct table *table, unsigned count)
{
	size_t there = 0;

	for (unsigned number = 0; number < count; number++)
		there += cache_has(table, number);
	return there;
}

START_TEST(an_empty_table_has_no_victim)
{
	struct table *table = table_new(0);
	struct table_key key;

	table_set_eviction(table, true);
	ck_assert_int_eq(table_victim(table, &key), -1);
	set_numbered(table, 1, 0);
	ck_assert_int_eq(table_victim(table, &key), 0);
	ck_assert_uint_eq(key.length, 14);
	ck_assert_mem_eq(key.bytes, "key:0000000001", 14);
	ck_assert_int_eq(table_delete(table, &key), 0);
	ck_assert_int_eq(table_victim(table, &key), -1);
	table_free(table);
}
END_TEST

START_TEST(a_victim_makes_room_for_one_like_it)
{
	struct table *table = cache_new();
	size_t victims = 0, most = 0;

	for (unsigned number = CACHED; number < 10 * CACHED; number++) {
		size_t needed = cache_add(table, number);

		victims += needed;
		most = needed > most ? needed : most;
		require(cache_has(table, number));
	}
	ck_assert_uint_ge(victims, 9 * CACHED - CACHED / 16);
	ck_assert_uint_le(victims, 9 * CACHED + CACHED / 16);
	ck_assert_uint_le(most, 256);
	table_free(table);
}
END_TEST

/* A third of the cache is used now and then, and ten times as much as fits passes through it once. */
static void assert_scan_resistance(struct table *table)
{
	ck_assert_uint_gt(cache_use(table, CACHED / 3), CACHED / 3 * 9 / 10);
	for (unsigned number = CACHED; number < 11 * CACHED; number++) {
		cache_add(table, number);
		if (number % CACHED == 0)
			cache_use(table, CACHED / 3);
	}
	/* Not all: of the tags of evicted entries, some are those of new ones as well. */
	ck_assert_uint_gt(cache_use(table, CACHED / 3), CACHED / 3 * 9 / 10);
}

START_TEST(a_scan_evicts_nothing_that_is_used)
{
	struct table *table = cache_new();

	assert_scan_resistance(table);
	table_free(table);
}
END_TEST

/* Neither as newcomers nor as proven ones. */
START_TEST(deleted_entries_do_not_count)
{
	struct table *table = cache_new();

	assert_scan_resistance(table);
	for (unsigned number = 0; number < 11 * CACHED; number++) {
		char key[15];

		snprintf(key, sizeof(key), "key:%010u", number);
		delete_bytes(table, key, 14);
	}
	for (unsigned number = 0; number < CACHED; number++)
		cache_add(table, number);
	assert_scan_resistance(table);
	table_free(table);
}
END_TEST

/* All are used as newcomers and after that, and then a quarter of them only. */
START_TEST(what_is_no_longer_used_goes)
{
	struct table *table = cache_new();
	size_t before, there;

	cache_use(table, CACHED);
	for (unsigned number = CACHED; number < 2 * CACHED; number++)
		cache_add(table, number);
	cache_use(table, CACHED);
	before = cache_use(table, CACHED / 4);
	for (unsigned number = 2 * CACHED; number < 22 * CACHED; number++) {
		cache_add(table, number);
		cache_has(table, number);
		if (number % 500 == 0)
			cache_use(table, CACHED / 4);
	}
	there = cache_use(table, CACHED / 4);
	ck_assert_uint_gt(there, before * 97 / 100);
	ck_assert_uint_lt(cache_use(table, CACHED), there + CACHED / 10);
	table_free(table);
}
END_TEST

/* A victim is set again at once: other newcomers no longer push it out, though it was never used. */
START_TEST(who_comes_back_soon_stays)
{
	struct table *table = cache_new();
	unsigned numbers[100], there = 0;

	for (size_t i = 0; i < 100; i++) {
		struct table_key key;
		char digits[11];

		require(table_victim(table, &key) == 0);
		snprintf(digits, sizeof(digits), "%.10s", (const char *)key.bytes + 4);
		numbers[i] = (unsigned)strtoul(digits, NULL, 10);
		require(table_delete(table, &key) == 0);
		cache_add(table, numbers[i]);
	}
	for (unsigned number = CACHED; number < 2 * CACHED; number++)
		cache_add(table, number);
	for (size_t i = 0; i < 100; i++)
		there += cache_has(table, numbers[i]);
	ck_assert_uint_gt(there, 90);
	table_free(table);
}
END_TEST

START_TEST(nothing_is_marked_without_eviction)
{
	struct table *table = cache_new();

	table_set_eviction(table, false);
	cache_use(table, CACHED / 2);
	table_set_eviction(table, true);
	for (unsigned number = CACHED; number < 2 * CACHED; number++)
		cache_add(table, number);
	ck_assert_uint_lt(cache_use(table, CACHED / 2), CACHED / 3);
	table_free(table);
}
END_TEST

static Suite *table_suite(void)
{
	Suite *s = suite_create("table");
	TCase *tc = tcase_create("table");

	tcase_set_timeout(tc, 60);
	tcase_add_test(tc, an_empty_table);
	tcase_add_test(tc, behaves_like_the_model);
	tcase_add_test(tc, behaves_like_the_model_when_full);
	tcase_add_test(tc, behaves_like_the_model_when_evicting);
#ifdef CAN_FAIL_ALLOCATIONS
	tcase_add_test(tc, stays_whole_without_memory);
#endif
	tcase_add_test(tc, keys_stay_prepared);
	tcase_add_test(tc, keys_are_bytes);
	tcase_add_test(tc, the_beginning_of_a_key_is_another_key);
	tcase_add_test(tc, a_value_may_be_empty);
	tcase_add_test(tc, lengths_have_limits);
	tcase_add_test(tc, a_value_may_come_from_the_table);
	tcase_add_test(tc, max_memory_is_exact);
	tcase_add_test(tc, a_lowered_limit_lets_values_shrink);
	tcase_add_test(tc, a_table_past_its_limit_gives_memory_back);
	tcase_add_test(tc, a_scan_sees_each_entry_once);
	tcase_add_test(tc, a_scan_misses_nothing_while_the_table_changes);
	tcase_add_test(tc, a_scan_that_is_stopped_sees_the_bucket_again);
	tcase_add_test(tc, a_scan_from_anywhere_ends);
	tcase_add_test(tc, only_an_entry_that_expires_pays_for_it);
	tcase_add_test(tc, grows_and_shrinks_by_one_bucket);
	tcase_add_test(tc, costs_little_memory);
	tcase_add_test(tc, gives_memory_back);
	tcase_add_test(tc, an_empty_table_has_no_victim);
	tcase_add_test(tc, a_victim_makes_room_for_one_like_it);
	tcase_add_test(tc, a_scan_evicts_nothing_that_is_used);
	tcase_add_test(tc, deleted_entries_do_not_count);
	tcase_add_test(tc, what_is_no_longer_used_goes);
	tcase_add_test(tc, who_comes_back_soon_stays);
	tcase_add_test(tc, nothing_is_marked_without_eviction);
	suite_add_tcase(s, tc);
	return s;
}

int main(void)
{
	SRunner *sr = srunner_create(table_suite());
	int failed;

	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
