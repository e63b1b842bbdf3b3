/*
 * The keyspace without a disk: a change is in the table, the batch and the undos, or in none of them, and a batch that
 * is rolled back leaves no trace.
 */
#include "kv/keyspace.h"

#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/batch.h"
#include "kv/sweep.h"

/* --- allocations that fail on request; a sanitizer has an allocator of its own --- */

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CAN_FAIL_ALLOCATIONS 1

static unsigned failing; /* this allocation from now on, and all behind it; 0 = none */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);
void *__libc_realloc(void *memory, size_t size);

static bool allocation_fails(void)
{
	if (failing == 0 || --failing > 0)
		return false;
	failing = 1;
	errno = ENOMEM;
	return true;
}

void *malloc(size_t size)
{
	return allocation_fails() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
	return allocation_fails() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *memory, size_t size)
{
	return allocation_fails() ? NULL : __libc_realloc(memory, size);
}
#endif

/* --- keys and values are texts --- */

static struct keyspace keyspace;

static void begin(bool logged, bool undoable)
{
	keyspace = (struct keyspace){
		.logged = logged, .undoable = undoable, .earliest = INT64_MAX, .now = 1000
	};
	keyspace.table = table_new(0);
	ck_assert_ptr_nonnull(keyspace.table);
}

static void end(void)
{
	batch_free(keyspace.open);
	keyspace_clear(&keyspace);
}

/* As the store does before a command. */
static struct table_key begin_call(const char *name)
{
	struct table_key key = { name, strlen(name), 0 };

	table_hash_and_prefetch(keyspace.table, &key);
	keyspace.changed = false;
	keyspace.refusal = KV_OK;
	keyspace.commit = 0;
	return key;
}

static int put(const char *name, const char *value)
{
	struct table_key key = begin_call(name);
	struct item item = { .value = { value, strlen(value) } };

	return keyspace_put(&keyspace, &key, &item);
}

static int put_until(const char *name, const char *value, int64_t expires)
{
	struct table_key key = begin_call(name);
	struct item item = { { value, strlen(value) }, expires };

	return keyspace_put(&keyspace, &key, &item);
}

static int rename_key(const char *from, const char *to)
{
	struct table_key to_key = begin_call(to), key = begin_call(from);
	struct item item;

	/* Not an assertion, which allocates. */
	if (!keyspace_get(&keyspace, &key, &item))
		return -2;
	return keyspace_rename(&keyspace, &key, &item, &to_key);
}

static bool remove_key(const char *name)
{
	struct table_key key = begin_call(name);

	return keyspace_delete(&keyspace, &key);
}

static bool get(const char *name, struct item *item)
{
	struct table_key key = begin_call(name);

	return keyspace_get(&keyspace, &key, item);
}

static void expect(const char *name, const char *value)
{
	struct item item;
	bool exists = get(name, &item);

	ck_assert_int_eq(exists, value != NULL);
	if (exists) {
		ck_assert_uint_eq(item.value.length, strlen(value));
		ck_assert_mem_eq(item.value.bytes, value, strlen(value));
	}
}

/* Takes the open batch, as the store does to commit it. */
static struct batch *take_batch(void)
{
	struct batch *batch = keyspace.open;

	ck_assert_ptr_nonnull(batch);
	keyspace.open = NULL;
	return batch;
}

START_TEST(what_is_not_logged_is_in_the_table_only)
{
	begin(false, false);
	ck_assert_int_eq(put("a", "1"), 0);
	ck_assert_int_eq(put("a", "2"), 0);
	expect("a", "2");
	ck_assert(remove_key("a"));
	ck_assert(!remove_key("a"));
	expect("a", NULL);
	ck_assert_ptr_null(keyspace.open);
	ck_assert(!keyspace.changed);
	table_set_max_memory(keyspace.table, 1);
	ck_assert_int_eq(put("a", "1"), -1);
	ck_assert_int_eq(keyspace.refusal, KV_FULL);
	end();
}
END_TEST

START_TEST(a_result_rests_on_the_newest_commit_of_its_key)
{
	struct batch *first;

	begin(true, true);
	put("a", "1");
	ck_assert(keyspace.changed);
	ck_assert_uint_eq(keyspace.commit, 1);
	expect("a", "1");
	ck_assert_uint_eq(keyspace.commit, 1);
	expect("b", NULL);
	ck_assert_uint_eq(keyspace.commit, 0);
	first = take_batch();
	remove_key("a");
	ck_assert_uint_eq(keyspace.commit, 2);
	ck_assert(!remove_key("a")); /* that it is gone rests on the commit, too */
	ck_assert_uint_eq(keyspace.commit, 2);
	ck_assert(!keyspace.changed);
	keyspace_committed(&keyspace, first);
	expect("a", NULL);
	ck_assert_uint_eq(keyspace.commit, 2);
	keyspace_committed(&keyspace, take_batch());
	expect("a", NULL);
	ck_assert_uint_eq(keyspace.commit, 0);
	ck_assert_uint_eq(keyspace.uncommitted.count, 0);
	end();
}
END_TEST

START_TEST(without_undos_nothing_rests_on_a_commit)
{
	begin(true, false);
	put("a", "1");
	ck_assert(keyspace.changed);
	ck_assert_uint_eq(keyspace.commit, 0);
	ck_assert_uint_eq(keyspace.open->changes, 1);
	ck_assert_uint_eq(keyspace.uncommitted.count, 0);
	end();
}
END_TEST

/* --- expiry: the time is keyspace.now --- */

static size_t entries(void)
{
	struct table_stats stats;

	table_stats(keyspace.table, &stats);
	return stats.entries;
}

START_TEST(a_key_is_missing_from_its_millisecond_on)
{
	begin(false, false);
	put_until("a", "1", 2000);
	keyspace.now = 1999;
	expect("a", "1");
	keyspace.now = 2000;
	ck_assert(!remove_key("a"));
	ck_assert_uint_eq(entries(), 0); /* the access has deleted it */
	put_until("a", "1", 1000);
	expect("a", NULL);
	ck_assert_uint_eq(entries(), 0);
	put_until("a", "1", 3000);
	put("a", "2"); /* ends the expiry */
	keyspace.now = 4000;
	expect("a", "2");
	end();
}
END_TEST

START_TEST(a_clock_that_is_set_back_brings_nothing_back_that_was_deleted)
{
	begin(false, false);
	put_until("a", "1", 2000);
	put_until("b", "1", 2000);
	keyspace.now = 2000;
	expect("a", NULL);
	keyspace.now = 1000;
	expect("a", NULL);
	expect("b", "1");
	end();
}
END_TEST

START_TEST(an_expired_key_is_deleted_in_the_log_and_nobody_waits)
{
	begin(true, true);
	put_until("a", "1", 2000);
	keyspace_committed(&keyspace, take_batch());
	keyspace.now = 2000;
	expect("a", NULL);
	ck_assert(keyspace.changed);
	ck_assert_uint_eq(keyspace.commit, 0);
	ck_assert_uint_eq(keyspace.open->changes, 1);
	ck_assert_uint_eq(keyspace.uncommitted.count, 0);
	expect("a", NULL);
	ck_assert(!keyspace.changed);
	ck_assert_uint_eq(keyspace.commit, 0);
	/* The failure of its commit does not bring it back, and leaves what others have done. */
	put("a", "2");
	ck_assert(keyspace_roll_back(&keyspace, &keyspace.open));
	expect("a", NULL);
	end();
}
END_TEST

START_TEST(that_an_uncommitted_key_has_expired_rests_on_its_commit)
{
	struct batch *batch;

	begin(true, true);
	put("a", "1");
	keyspace_committed(&keyspace, take_batch());
	put_until("a", "2", 2000);
	batch = take_batch();
	keyspace.now = 2000;
	expect("a", NULL);
	ck_assert_uint_eq(keyspace.commit, batch->commit);
	ck_assert(keyspace_roll_back(&keyspace, &keyspace.open));
	ck_assert(keyspace_roll_back(&keyspace, &batch));
	expect("a", "1");
	end();
}
END_TEST

START_TEST(a_read_only_store_does_not_show_expired_keys)
{
	begin(true, true);
	put_until("a", "1", 2000);
	keyspace_committed(&keyspace, take_batch());
	keyspace.now = 2000;
	keyspace.read_only = keyspace.deletes = true;
	expect("a", NULL);
	ck_assert_int_eq(keyspace.refusal, KV_OK);
	ck_assert(!remove_key("a"));
	ck_assert_int_eq(keyspace.refusal, KV_OK);
	ck_assert_ptr_null(keyspace.open);
	ck_assert_uint_eq(entries(), 1);
	end();
}
END_TEST

static int count_key(void *arg, const struct slice *key, const struct item *item)
{
	(void)key;
	(void)item;
	++*(size_t *)arg;
	return 0;
}

START_TEST(a_scan_shows_no_expired_keys_and_rests_on_all_commits)
{
	size_t count = 0;

	begin(true, true);
	put("a", "1");
	put_until("b", "1", 2000);
	put_until("c", "1", 2001);
	keyspace.now = 2000;
	begin_call("");
	ck_assert_uint_eq(keyspace_scan(&keyspace, 0, count_key, &count), 0);
	ck_assert_uint_eq(count, 2);
	ck_assert_uint_eq(keyspace.commit, 1);
	begin_call("");
	ck_assert_uint_eq(keyspace_count(&keyspace), 3);
	ck_assert_uint_eq(keyspace.commit, 1);
	keyspace_committed(&keyspace, take_batch());
	begin_call("");
	keyspace_count(&keyspace);
	ck_assert_uint_eq(keyspace.commit, 0);
	end();
}
END_TEST

/* Runs slices until the sweep rests, and returns for how long. */
static int64_t sweep_all(struct sweep *sweep)
{
	int64_t wait;

	do {
		sweep->next = 0;
		keyspace.changed = false;
		sweep_run(sweep, &keyspace);
		sweep->next = 0;
		wait = sweep_wait(sweep, &keyspace);
	} while (wait == 0);
	return wait;
}

START_TEST(a_sweep_deletes_what_has_expired_and_rests_until_the_next)
{
	struct sweep sweep;
	char name[16];

	begin(true, true);
	sweep_init(&sweep);
	put("never", "1");
	ck_assert_int_eq(sweep_wait(&sweep, &keyspace), -1);
	for (int i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "key%d", i);
		put_until(name, "1", i % 3 == 0 ? 9000 : 2000);
	}
	ck_assert(keyspace.sooner);
	ck_assert_int_eq(sweep_wait(&sweep, &keyspace), 1000);
	keyspace_committed(&keyspace, take_batch());
	keyspace.now = 1999;
	ck_assert_int_eq(sweep_all(&sweep), 1);
	ck_assert_uint_eq(entries(), 3001);
	keyspace.now = 2000;
	ck_assert_int_eq(sweep_all(&sweep), 7000);
	ck_assert_uint_eq(entries(), 1001);
	ck_assert_uint_eq(keyspace.open->changes, 2000);
	keyspace.now = 9000;
	ck_assert_int_eq(sweep_all(&sweep), -1);
	ck_assert_uint_eq(entries(), 1);
	expect("never", "1");
	end();
}
END_TEST

/* What is put while a pass is under way, at a place that it has seen, is not forgotten. */
START_TEST(a_sweep_notices_what_is_put_meanwhile)
{
	struct sweep sweep;

	begin(false, false);
	sweep_init(&sweep);
	put_until("a", "1", 5000);
	sweep.cursor = 1;
	keyspace.earliest = sweep.left = INT64_MAX;
	put_until("b", "1", 3000);
	ck_assert_int_eq(sweep_wait(&sweep, &keyspace), 0);
	sweep_all(&sweep);
	ck_assert_int_le(keyspace.earliest, 3000);
	end();
}
END_TEST

START_TEST(a_sweep_of_a_read_only_store_comes_back)
{
	struct sweep sweep;

	begin(true, true);
	sweep_init(&sweep);
	put_until("a", "1", 2000);
	keyspace_committed(&keyspace, take_batch());
	keyspace.now = 2000;
	keyspace.read_only = true;
	sweep_run(&sweep, &keyspace);
	ck_assert_int_gt(sweep_wait(&sweep, &keyspace), 0);
	ck_assert_uint_eq(entries(), 1);
	keyspace.read_only = false;
	ck_assert_int_eq(sweep_all(&sweep), -1);
	ck_assert_uint_eq(entries(), 0);
	end();
}
END_TEST

/* Two batches, the newer one first: replaced, deleted, new, and back again. */
START_TEST(a_rollback_leaves_no_trace)
{
	struct table_stats before, after;
	struct batch *older;

	begin(true, true);
	put("replaced", "1");
	put("deleted", "a value that is a little longer than the others");
	put("back", "1");
	keyspace_committed(&keyspace, take_batch());
	table_stats(keyspace.table, &before);
	put("replaced", "2");
	put("replaced", "3");
	remove_key("deleted");
	put("new", "1");
	remove_key("back");
	older = take_batch();
	put("replaced", "4");
	put("deleted", "1");
	remove_key("new");
	put("back", "2");
	ck_assert(keyspace_roll_back(&keyspace, &keyspace.open));
	ck_assert_ptr_null(keyspace.open);
	expect("replaced", "3");
	ck_assert_uint_eq(keyspace.commit, older->commit);
	ck_assert(keyspace_roll_back(&keyspace, &older));
	ck_assert_ptr_null(older);
	expect("replaced", "1");
	expect("deleted", "a value that is a little longer than the others");
	expect("new", NULL);
	expect("back", "1");
	ck_assert_uint_eq(keyspace.uncommitted.count, 0);
	table_stats(keyspace.table, &after);
	ck_assert_uint_eq(after.entries, before.entries);
	ck_assert_uint_eq(after.memory, before.memory);
	end();
}
END_TEST

START_TEST(a_read_only_store_shows_what_it_has)
{
	begin(true, true);
	put("a", "1");
	keyspace_committed(&keyspace, take_batch());
	keyspace.read_only = true;
	expect("a", "1");
	ck_assert_int_eq(keyspace.refusal, KV_OK);
	ck_assert_int_eq(put("a", "2"), -1);
	ck_assert_int_eq(keyspace.refusal, KV_UNAVAILABLE);
	ck_assert(!remove_key("a"));
	ck_assert_int_eq(keyspace.refusal, KV_UNAVAILABLE);
	ck_assert(!remove_key("b"));
	ck_assert_int_eq(keyspace.refusal, KV_OK);
	expect("a", "1");
	ck_assert_ptr_null(keyspace.open);
	end();
}
END_TEST

START_TEST(what_waits_to_be_undone_is_not_shown)
{
	struct item item;

	begin(true, true);
	put("a", "1");
	keyspace_committed(&keyspace, take_batch());
	put("b", "1");
	keyspace.undoing = keyspace.read_only = true;
	expect("a", "1");
	ck_assert_int_eq(keyspace.refusal, KV_OK);
	get("b", &item);
	ck_assert_int_eq(keyspace.refusal, KV_UNAVAILABLE);
	end();
}
END_TEST

static const char long_value[] = "0123456789012345678901234567890123456789";

/* What a refused put of the key must not change. */
static void expect_nothing_changed(
    const char *name, const char *value, size_t changes, size_t undos)
{
	size_t length = keyspace.open == NULL ? BATCH_HEADER : keyspace.open->frame.length;

	ck_assert_int_eq(keyspace.refusal, KV_FULL);
	ck_assert(!keyspace.changed);
	ck_assert_uint_eq(keyspace.commit, 0);
	ck_assert_uint_eq(keyspace.open == NULL ? 0 : keyspace.open->changes, changes);
	ck_assert_uint_eq(keyspace.uncommitted.count, undos);
	ck_assert(changes > 0 || length == BATCH_HEADER);
	expect(name, value);
}

START_TEST(a_put_past_the_budget_changes_nothing)
{
	struct table_stats stats;

	begin(true, true);
	put("a", "1");
	table_stats(keyspace.table, &stats);
	table_set_max_memory(keyspace.table, stats.memory);
	ck_assert_int_eq(put("b", "1"), -1);
	expect_nothing_changed("b", NULL, 1, 1);
	ck_assert_uint_eq(keyspace.commit, 0);
	ck_assert_int_eq(put("a", long_value), -1);
	ck_assert_int_eq(keyspace.refusal, KV_FULL);
	expect("a", "1");
	ck_assert_uint_eq(keyspace.open->changes, 1);
	keyspace_committed(&keyspace, take_batch());
	ck_assert_int_eq(put("a", long_value), -1);
	expect_nothing_changed("a", "1", 0, 0);
	end();
}
END_TEST

/* The evictions are part of the put's commit: before it in the batch, and undone with it. */
START_TEST(a_put_may_evict)
{
	struct table_stats stats;

	begin(true, true);
	for (int i = 0; i < 20; i++) {
		char name[8];

		snprintf(name, sizeof(name), "key%02d", i);
		ck_assert_int_eq(put(name, "1"), 0);
	}
	keyspace_committed(&keyspace, take_batch());
	table_stats(keyspace.table, &stats);
	table_set_max_memory(keyspace.table, stats.memory);
	ck_assert_int_eq(put("a", long_value), -1);
	ck_assert_int_eq(keyspace.refusal, KV_FULL);

	keyspace.evicts = true;
	ck_assert_int_eq(put("a", long_value), 0);
	ck_assert_int_eq(keyspace.refusal, KV_OK);
	ck_assert_uint_eq(keyspace.commit, keyspace.open->commit);
	expect("a", long_value);
	ck_assert_uint_gt(keyspace.evictions, 0);
	ck_assert_uint_eq(keyspace_count(&keyspace), 21 - keyspace.evictions);
	ck_assert_uint_eq(keyspace.open->changes, 1 + keyspace.evictions);
	ck_assert(keyspace_roll_back(&keyspace, &keyspace.open));
	ck_assert_uint_eq(keyspace_count(&keyspace), 20);
	expect("a", NULL);
	expect("key19", "1");
	end();
}
END_TEST

START_TEST(a_rename_is_one_commit)
{
	begin(true, true);
	put_until("a", "1", 5000);
	put("b", "2");
	keyspace_committed(&keyspace, take_batch());
	ck_assert_int_eq(rename_key("a", "b"), 0);
	ck_assert_uint_eq(keyspace.open->changes, 2);
	ck_assert_uint_eq(keyspace.commit, keyspace.open->commit);
	expect("a", NULL);
	expect("b", "1");
	keyspace.now = 5000;
	expect("b", NULL);
	keyspace.now = 1000;
	ck_assert(keyspace_roll_back(&keyspace, &keyspace.open));
	expect("a", "1");
	expect("b", "2");
	end();
}
END_TEST

START_TEST(a_rename_past_the_budget_changes_nothing)
{
	struct table_stats stats;

	begin(true, true);
	put("a", long_value);
	keyspace_committed(&keyspace, take_batch());
	table_stats(keyspace.table, &stats);
	table_set_max_memory(keyspace.table, stats.memory / 2);
	ck_assert_int_eq(rename_key("a", "b"), -1);
	expect_nothing_changed("b", NULL, 0, 0);
	expect("a", long_value);
	end();
}
END_TEST

#ifdef CAN_FAIL_ALLOCATIONS
START_TEST(a_rename_without_memory_changes_nothing)
{
	unsigned n = 0;
	int result;

	for (;;) {
		begin(true, true);
		put("a", long_value);
		put("b", "2");
		keyspace_committed(&keyspace, take_batch());
		failing = ++n;
		result = rename_key("a", "b");
		failing = 0;
		if (result == 0)
			break;
		expect_nothing_changed("b", "2", 0, 0);
		expect("a", long_value);
		end();
	}
	ck_assert_uint_ge(n, 4);
	expect("a", NULL);
	expect("b", long_value);
	end();
}
END_TEST

/* Each allocation of a put fails in turn, until one has all: batch, record, places of undos, undo, entry. */
START_TEST(a_put_without_memory_changes_nothing)
{
	unsigned n = 0;
	int result;

	for (;;) {
		begin(true, true);
		failing = ++n;
		result = put("a", long_value);
		failing = 0;
		if (result == 0)
			break;
		expect_nothing_changed("a", NULL, 0, 0);
		end();
	}
	ck_assert_uint_eq(n, 6);
	expect("a", long_value);
	ck_assert_uint_eq(keyspace.open->changes, 1);
	ck_assert_uint_eq(keyspace.uncommitted.count, 1);
	end();
}
END_TEST

/* It stays as it is, and goes on when there is memory again. */
START_TEST(a_rollback_without_memory_goes_on_later)
{
	bool done;

	begin(true, true);
	put("a", long_value);
	put("b", long_value);
	keyspace_committed(&keyspace, take_batch());
	put("a", "1");
	remove_key("b");
	put("c", "1");
	failing = 1;
	done = keyspace_roll_back(&keyspace, &keyspace.open);
	failing = 0;
	ck_assert(!done);
	expect("c", NULL);
	ck_assert_uint_eq(keyspace.commit, 0);
	ck_assert(keyspace_roll_back(&keyspace, &keyspace.open));
	expect("a", long_value);
	expect("b", long_value);
	ck_assert_uint_eq(keyspace.uncommitted.count, 0);
	end();
}
END_TEST
#endif

int main(void)
{
	Suite *suite = suite_create("keyspace");
	TCase *tests = tcase_create("keyspace");
	SRunner *runner;
	int not_passed;

	tcase_add_test(tests, what_is_not_logged_is_in_the_table_only);
	tcase_add_test(tests, a_result_rests_on_the_newest_commit_of_its_key);
	tcase_add_test(tests, without_undos_nothing_rests_on_a_commit);
	tcase_add_test(tests, a_rollback_leaves_no_trace);
	tcase_add_test(tests, a_read_only_store_shows_what_it_has);
	tcase_add_test(tests, what_waits_to_be_undone_is_not_shown);
	tcase_add_test(tests, a_key_is_missing_from_its_millisecond_on);
	tcase_add_test(tests, a_clock_that_is_set_back_brings_nothing_back_that_was_deleted);
	tcase_add_test(tests, an_expired_key_is_deleted_in_the_log_and_nobody_waits);
	tcase_add_test(tests, that_an_uncommitted_key_has_expired_rests_on_its_commit);
	tcase_add_test(tests, a_read_only_store_does_not_show_expired_keys);
	tcase_add_test(tests, a_scan_shows_no_expired_keys_and_rests_on_all_commits);
	tcase_add_test(tests, a_sweep_deletes_what_has_expired_and_rests_until_the_next);
	tcase_add_test(tests, a_sweep_notices_what_is_put_meanwhile);
	tcase_add_test(tests, a_sweep_of_a_read_only_store_comes_back);
	tcase_add_test(tests, a_put_past_the_budget_changes_nothing);
	tcase_add_test(tests, a_put_may_evict);
	tcase_add_test(tests, a_rename_is_one_commit);
	tcase_add_test(tests, a_rename_past_the_budget_changes_nothing);
#ifdef CAN_FAIL_ALLOCATIONS
	tcase_add_test(tests, a_rename_without_memory_changes_nothing);
	tcase_add_test(tests, a_put_without_memory_changes_nothing);
	tcase_add_test(tests, a_rollback_without_memory_goes_on_later);
#endif
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	not_passed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return not_passed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
