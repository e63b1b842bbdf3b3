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

/* --- allocations that fail on request; a sanitizer has an allocator of its own --- */

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#define CAN_FAIL_ALLOCATIONS 1

static unsigned failing; /* this allocation from now on, and all behind it; 0 = none */

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t count, size_t size);

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
	size_t length = keyspace.open == NULL ? BATCH_HEADER : keyspace.open->length;

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

#ifdef CAN_FAIL_ALLOCATIONS
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
	tcase_add_test(tests, a_put_past_the_budget_changes_nothing);
#ifdef CAN_FAIL_ALLOCATIONS
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
