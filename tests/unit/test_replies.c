/* The order of replies of which some wait for a commit, and what a failed commit leaves of them. */
#include <check.h>
#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>

#include "net/replies.h"

static struct evbuffer *out;
static struct promises *promises;
static struct replies replies;

static void setup(void)
{
	out = evbuffer_new();
	promises = NULL;
	replies_begin(&replies, out, &promises);
}

static void teardown(void)
{
	promises_free(promises);
	evbuffer_free(out);
}

/* All that may be sent by now. */
static void expect_output(const char *expected)
{
	size_t length = strlen(expected);

	replies_flush(&replies);
	ck_assert(!replies.lost);
	ck_assert_uint_eq(evbuffer_get_length(out), length);
	if (length > 0)
		ck_assert_mem_eq(evbuffer_pullup(out, -1), expected, length);
	evbuffer_drain(out, length);
}

static void resolve(uint64_t committed, uint64_t through)
{
	replies_flush(&replies);
	ck_assert_int_eq(promises_resolve(&promises, out, committed, through, "failed "), 0);
}

static void promise_value(uint64_t commit, const char *value)
{
	replies_promise_begin(&replies, commit);
	replies_text(&replies, value);
	replies_text(&replies, " ");
	replies_promise_end(&replies);
}

START_TEST(known_replies_go_out)
{
	char large[3 * REPLIES_GATHERED + 1];

	memset(large, 'x', sizeof(large) - 1);
	large[sizeof(large) - 1] = '\0';
	replies_text(&replies, "a ");
	replies_add(&replies, "b ", 2);
	ck_assert_uint_eq(replies.unsent, 4);
	expect_output("a b ");
	replies_text(&replies, large);
	expect_output(large);
	ck_assert_ptr_null(promises);
}
END_TEST

START_TEST(replies_keep_their_order)
{
	replies_text(&replies, "a ");
	replies_promise(&replies, 1, "OK ");
	replies_text(&replies, "b ");
	promise_value(2, "value");
	replies_text(&replies, "c ");
	expect_output("a ");
	resolve(1, 1);
	expect_output("OK b ");
	resolve(2, 2);
	expect_output("value c ");
	ck_assert_ptr_null(promises);
}
END_TEST

START_TEST(what_is_appended_keeps_its_place)
{
	struct evbuffer *bytes = evbuffer_new();

	replies_promise(&replies, 1, "OK ");
	promise_value(2, "value");
	replies_text(&replies, "a ");
	replies_flush(&replies);
	for (size_t before = promises_unsent(promises), i = 1; i <= 2; i++) {
		evbuffer_add(bytes, "pushed ", 7);
		ck_assert_int_eq(promises_append(promises, bytes), 0);
		ck_assert_uint_eq(evbuffer_get_length(bytes), 0);
		ck_assert_uint_eq(promises_unsent(promises), before + i * 7);
	}
	replies_text(&replies, "b ");
	promise_value(3, "last");
	replies_flush(&replies);
	evbuffer_add(bytes, "end ", 4);
	ck_assert_int_eq(promises_append(promises, bytes), 0);
	ck_assert_int_eq(promises_append(promises, bytes), 0);
	resolve(1, 1);
	expect_output("OK ");
	resolve(1, 2);
	expect_output("failed a pushed pushed b ");
	resolve(3, 3);
	expect_output("last end ");
	ck_assert_ptr_null(promises);
	evbuffer_free(bytes);
}
END_TEST

START_TEST(a_failed_commit_replaces_its_replies_only)
{
	static const char ok[] = "OK ";

	replies_promise(&replies, 1, ok);
	replies_promise(&replies, 1, ok);
	replies_promise(&replies, 2, ok);
	promise_value(1, "one");
	replies_text(&replies, "known ");
	promise_value(2, "two");
	replies_promise(&replies, 2, ok);
	replies_promise(&replies, 2, ok);
	resolve(1, 2);
	expect_output("OK OK failed one known failed failed failed ");
	ck_assert_ptr_null(promises);
}
END_TEST

START_TEST(an_empty_value_is_a_reply)
{
	replies_promise_begin(&replies, 1);
	replies_promise_end(&replies);
	replies_text(&replies, "a ");
	resolve(_i == 0 ? 1 : 0, 1);
	expect_output(_i == 0 ? "a " : "failed a ");
}
END_TEST

/* As many as one likes, in any mixture; what a client waits for shrinks to nothing. */
START_TEST(many)
{
	static const char ok[] = "OK ";
	char *expected = calloc(1, 100000);
	uint64_t resolved = 0;

	srand(1);
	for (uint64_t commit = 1; commit <= 2000; commit++) {
		bool works = commit % 3 != 0;

		switch (rand() % 3) {
		case 0:
			replies_promise(&replies, commit, ok);
			strcat(expected, works ? ok : "failed ");
			break;
		case 1:
			promise_value(commit, "value");
			strcat(expected, works ? "value " : "failed ");
			break;
		default:
			replies_text(&replies, "known ");
			strcat(expected, "known ");
		}
		if (rand() % 4 != 0)
			continue;
		replies_flush(&replies);
		while (resolved < commit) {
			resolved++;
			resolve(resolved % 3 != 0 ? resolved : resolved - 1, resolved);
		}
	}
	resolve(2000, 2000);
	expect_output(expected);
	ck_assert_ptr_null(promises);
	free(expected);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("replies");
	TCase *order = tcase_create("order");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(order, setup, teardown);
	tcase_add_test(order, known_replies_go_out);
	tcase_add_test(order, replies_keep_their_order);
	tcase_add_test(order, what_is_appended_keeps_its_place);
	tcase_add_test(order, a_failed_commit_replaces_its_replies_only);
	tcase_add_loop_test(order, an_empty_value_is_a_reply, 0, 2);
	tcase_add_test(order, many);
	suite_add_tcase(suite, order);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
