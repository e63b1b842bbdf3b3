/*
 * kv in lines over an engine that answers what the test says: each kind of result as a reply, replies that rest on a
 * commit, lists that are made in parts, and all keys of a run prepared before its first call.
 */
#include <check.h>
#include <event2/event.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "kv/engine.h"
#include "kv/list.h"
#include "net/admission.h"
#include "net/client.h"
#include "net/instance.h"
#include "net/loop.h"
#include "net/replies.h"
#include "net/settings.h"
#include "net/stream.h"
#include "services/kv.h"
#include "services/kv_listing.h"
#include "services/kv_words.h"

static struct loop *loop;
static struct instance *instance;
static struct instance_settings settings = { .max_connections = 10 };
static struct line_settings lines = { .max_line = 64 };
static struct kv kv;
static int client;

/* --- the engine --- */

#define RESULTS_MAX 16
static struct kv_result results[RESULTS_MAX]; /* of the calls that come */
static struct list lists[RESULTS_MAX];        /* of those that carry one */
static uint64_t froms[RESULTS_MAX];           /* call.from of the calls that have come */
static size_t prepared, submitted;

static void engine_prepare(struct engine *engine, struct call *calls, size_t count)
{
	(void)engine;
	for (size_t i = 0; i < count; i++)
		prepared += calls[i].status == KV_OK;
}

static void engine_submit(struct engine *engine, const struct call *call, struct kv_result *result)
{
	(void)engine;
	ck_assert_ptr_nonnull(call->command);
	ck_assert_uint_lt(submitted, prepared);
	ck_assert_uint_lt(submitted, RESULTS_MAX);
	froms[submitted] = call->from;
	*result = results[submitted++];
}

static const struct engine_ops engine_ops = { .prepare = engine_prepare, .submit = engine_submit };
static struct engine engine = { .ops = &engine_ops, .fd = -1 };

/* --- the client --- */

static void expect(const char *expected)
{
	char bytes[512];
	ssize_t n;

	for (int i = 0; i < 100; i++)
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
	n = recv(client, bytes, sizeof(bytes) - 1, MSG_DONTWAIT);
	bytes[n > 0 ? n : 0] = '\0';
	ck_assert_str_eq(bytes, expected);
}

static void ask(const char *text)
{
	ck_assert_int_eq(send(client, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

static void setup(void)
{
	const struct peer peer = { .family = AF_UNIX };
	enum limit limit;
	int ends[2];

	loop = loop_new(10, stream_check, streams_flush_cb);
	instance = instance_new(loop, "test");
	instance->settings = &settings;
	instance->lines = &lines;
	instance->handlers = &kv_lines_handlers;
	kv = (struct kv){ .engine = &engine, .limits = { .max_key = 8, .max_value = 16 } };
	instance->state = &kv;
	TAILQ_INSERT_TAIL(&loop->instances, instance, entry);
	prepared = submitted = 0;
	memset(results, 0, sizeof(results));
	memset(lists, 0, sizeof(lists));
	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
	client = ends[0];
	ck_assert_int_eq(admission_enter(instance, &peer, &limit), ADMIT);
	stream_open(instance, NULL, ends[1], &peer);
	expect("READY\n");
}

static void teardown(void)
{
	streams_abort(instance, CLOSE_SHUTDOWN);
	for (size_t i = 0; i < RESULTS_MAX; i++)
		list_free(&lists[i]);
	ck_assert(LIST_EMPTY(&instance->waiters));
	TAILQ_REMOVE(&loop->instances, instance, entry);
	instance_free(instance);
	loop_free(loop);
	close(client);
}

START_TEST(every_result_has_its_line)
{
	results[0] = (struct kv_result){ .kind = KV_INTEGER, .integer = INT64_MIN };
	results[1] = (struct kv_result){ .kind = KV_INTEGER, .integer = INT64_MAX };
	results[2] = (struct kv_result){ .kind = KV_BYTES, .bytes = { "a  b", 4 } };
	results[3] = (struct kv_result){ .kind = KV_BYTES };
	results[4] = (struct kv_result){ .status = KV_NOT_FOUND };
	results[5] = (struct kv_result){ .status = KV_UNAVAILABLE };
	results[6] = (struct kv_result){ .status = KV_OK }; /* SET has no text of its own */
	results[7] = (struct kv_result){ .status = KV_OK };
	ask("GET a\nGET a\nGET a\nGET a\nGET a\nGET a\nSET a 1\nDEL a\n");
	expect("-9223372036854775808\n9223372036854775807\na  b\n\nNOT_FOUND\n"
	       "ERROR: storage failed\nOK\nDELETED\n");
	ck_assert_uint_eq(submitted, 8);
}
END_TEST

START_TEST(a_status_has_its_line)
{
	static const enum kv_status statuses[] = { KV_EXISTS, KV_CHANGED, KV_NEVER, KV_FULL,
		KV_LOADING, KV_OUT_OF_RANGE, KV_NO_MEMORY, KV_WRONG_ARGUMENTS };

	for (size_t i = 0; i < 8; i++)
		results[i].status = statuses[i];
	ask("GET a\nGET a\nGET a\nGET a\nGET a\nGET a\nGET a\nSCAN 0 a\n");
	expect("EXISTS\nCHANGED\nNEVER\nERROR: store is full\nERROR: loading\n"
	       "ERROR: number out of range\nERROR: out of memory\n"
	       "ERROR: wrong number of arguments: SCAN cursor [MATCH pattern] [COUNT n]\n");
}
END_TEST

START_TEST(a_value_that_is_no_line_is_not_sent)
{
	results[0] = (struct kv_result){ .kind = KV_BYTES, .bytes = { "a\nOK", 4 } };
	results[1] = (struct kv_result){ .kind = KV_BYTES, .bytes = { "a\rb\\n ", 6 } };
	results[2] = (struct kv_result){ .kind = KV_DIGESTED, .bytes = { "\n", 1 } };
	results[3] =
	    (struct kv_result){ .kind = KV_DIGESTED, .bytes = { "v", 1 }, .integer = 0xab };
	results[4] = (struct kv_result){ .kind = KV_TEXT, .bytes = { "none", 4 } };
	ask("GET a\nGET a\nGETS a\nGETS a\nTYPE a\n");
	expect("ERROR: value is not a line\na\rb\\n \nERROR: value is not a line\n"
	       "00000000000000ab v\nnone\n");
}
END_TEST

static void add_item(size_t n, enum kv_kind kind, const char *text)
{
	ck_assert_int_eq(list_add(&lists[n], kind, (struct slice){ text, strlen(text) }), 0);
	results[n].kind = KV_LIST;
	results[n].list = &lists[n];
	results[n].integer = (int64_t)lists[n].count;
}

START_TEST(items_that_are_no_lines_are_escaped)
{
	add_item(0, KV_KEY, "a b\t\n\v\f\r\\");
	add_item(0, KV_KEY, "a\\nb");
	add_item(0, KV_KEY, "\n3\nOK");
	add_item(0, KV_KEY, "");
	add_item(0, KV_BYTES, "a b\t\\n");
	add_item(0, KV_BYTES, "a b\t\nNOT_FOUND\\\n");
	add_item(0, KV_NOTHING, "");
	add_item(0, KV_TEXT, "a text");
	ask("KEYS\n");
	expect("8\na\\x20b\\t\\n\\v\\f\\r\\\\\na\\nb\n\\n3\\nOK\n\na b\t\\n\n"
	       "a b\t\\nNOT_FOUND\\\\\\n\nNOT_FOUND\na text\n");
}
END_TEST

/* --- lists in parts: the first part is asked for twice --- */

static void make_parts(uint64_t commit)
{
	for (size_t n = 0; n < 3; n++) {
		add_item(n, KV_KEY, n < 2 ? "a" : "b");
		if (n < 2)
			add_item(n, KV_KEY, "a a");
		results[n].integer = -1;
		results[n].next = n < 2 ? 7 : 0;
		results[n].commit = n < 2 ? 0 : commit;
	}
	results[3] = (struct kv_result){ .status = KV_NOT_FOUND };
}

START_TEST(a_list_of_unknown_length_is_collected)
{
	make_parts(0);
	ask("KEYS a*\nGET a\nQUIT\n");
	expect("3\na\na\\x20a\nb\nNOT_FOUND\nBYE\n");
	ck_assert_uint_eq(froms[1], 0);
	ck_assert_uint_eq(froms[2], 7);
	ck_assert_uint_eq(kv.listed, 0);
}
END_TEST

START_TEST(a_part_leaves_time_for_others)
{
	int64_t begin = clock_us();

	make_parts(0);
	kv.next_part = begin + 20000;
	ask("KEYS a*\nGET a\n");
	expect("3\na\na\\x20a\nb\nNOT_FOUND\n");
	ck_assert_int_ge(clock_us(), begin + 20000);
	ck_assert_int_gt(kv.next_part, begin + 20000);
}
END_TEST

START_TEST(a_collected_list_waits_for_its_commit)
{
	make_parts(2);
	ask("KEYS\nGET a\n");
	expect("");
	streams_resolve(instance, 1, 1);
	expect("");
	streams_resolve(instance, 2, 2);
	expect("3\na\na\\x20a\nb\nNOT_FOUND\n");
}
END_TEST

START_TEST(the_failure_of_a_commit_takes_the_place_of_the_list)
{
	make_parts(2);
	ask("KEYS\nGET a\n");
	expect("");
	kv_listings_fail(&kv, 2);
	streams_resolve(instance, 0, 2);
	expect("ERROR: storage failed\nNOT_FOUND\n");
}
END_TEST

/* One that is much longer than what a client may have unread, and than a promise. */
#define LONG_LIST 50000

static void make_long_list(uint64_t commit)
{
	for (size_t n = 0; n < 3; n++) {
		for (int i = 0; i < LONG_LIST; i++)
			add_item(n, KV_KEY, "0123456789");
		results[n].integer = -1;
		results[n].next = n < 2 ? 1 : 0;
		results[n].commit = commit;
	}
	results[3] = (struct kv_result){ .status = KV_NOT_FOUND };
}

/* Reads while something comes; returns how many bytes, and the last ones. */
static size_t receive_all(char last[16])
{
	static char bytes[4096];
	size_t all = 0;
	ssize_t n;

	do {
		for (int i = 0; i < 20; i++)
			event_base_loop(loop->base, EVLOOP_NONBLOCK);
		n = recv(client, bytes, sizeof(bytes), MSG_DONTWAIT);
		if (n >= 15)
			memcpy(last, bytes + n - 15, 15);
		all += n > 0 ? (size_t)n : 0;
	} while (n > 0);
	last[15] = '\0';
	return all;
}

static size_t unsent(void)
{
	struct client described;

	stream_describe(TAILQ_FIRST(&instance->streams), &described);
	return described.unsent;
}

#define LONG_REPLY ((size_t)7 + 2 * LONG_LIST * 11 + 10)

START_TEST(a_long_list_is_sent_as_it_is_read)
{
	char last[16];

	make_long_list(0);
	ask("KEYS\nGET a\n");
	for (int i = 0; i < 1000; i++) {
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
		ck_assert_uint_le(unsent(), REPLIES_HIGH + 4096);
	}
	ck_assert_uint_gt(kv.listed, 0);
	ck_assert_uint_eq(receive_all(last), LONG_REPLY);
	ck_assert_str_eq(last, "6789\nNOT_FOUND\n");
	ck_assert_uint_eq(kv.listed, 0);
}
END_TEST

START_TEST(no_piece_of_a_long_list_is_sent_before_its_commit)
{
	char last[16];

	make_long_list(1);
	ask("KEYS\nGET a\n");
	expect("");
	ck_assert_uint_gt(unsent(), REPLIES_HIGH);
	kv.committed = 1;
	streams_resolve(instance, 1, 1);
	ck_assert_uint_eq(receive_all(last), LONG_REPLY);
	ck_assert_str_eq(last, "6789\nNOT_FOUND\n");
}
END_TEST

START_TEST(no_piece_of_a_long_list_is_sent_after_its_commit_has_failed)
{
	make_long_list(2);
	kv.committed = 1;
	ask("KEYS\nGET a\n");
	expect("");
	kv_listings_fail(&kv, 2);
	kv.committed = 3; /* the next one works */
	streams_resolve(instance, 1, 2);
	expect("ERROR: storage failed\nNOT_FOUND\n");
	ck_assert_uint_eq(kv.listed, 0);
}
END_TEST

START_TEST(a_client_that_leaves_ends_its_listing)
{
	make_long_list(0);
	ask("KEYS\n");
	for (int i = 0; i < 10; i++)
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
	ck_assert(!LIST_EMPTY(&kv.listings));
	streams_abort(instance, CLOSE_SHUTDOWN);
	ck_assert(LIST_EMPTY(&kv.listings));
	ck_assert_uint_eq(kv.listed, 0);
}
END_TEST

START_TEST(an_error_ends_a_collected_list)
{
	make_parts(0);
	results[2] = (struct kv_result){ .status = KV_NO_MEMORY };
	ask("KEYS\nGET a\n");
	expect("ERROR: out of memory\nNOT_FOUND\n");
	ck_assert_uint_eq(kv.listed, 0);
}
END_TEST

/* MGET a b c d: the length is sent first, and each item rests on the commit of its part. */
static void make_known_parts(void)
{
	for (size_t n = 0; n < 3; n++) {
		add_item(n, KV_BYTES, n < 2 ? "1" : "3");
		add_item(n, KV_NOTHING, "");
		results[n].integer = 4;
		results[n].next = n < 2 ? 2 : 0;
	}
	results[3] = (struct kv_result){ .status = KV_NOT_FOUND };
}

START_TEST(a_list_of_known_length_is_sent_in_parts)
{
	make_known_parts();
	ask("MGET a b c d\nGET a\n");
	expect("4\n1\nNOT_FOUND\n3\nNOT_FOUND\nNOT_FOUND\n");
	ck_assert_uint_eq(froms[2], 2);
}
END_TEST

START_TEST(the_failure_of_a_commit_takes_the_place_of_its_items)
{
	make_known_parts();
	results[1].commit = 1;
	results[2].commit = 2;
	ask("MGET a b c d\nGET a\n");
	expect("4\n");
	streams_resolve(instance, 1, 1);
	expect("1\nNOT_FOUND\n");
	streams_resolve(instance, 1, 2);
	expect("ERROR: storage failed\nERROR: storage failed\nNOT_FOUND\n");
}
END_TEST

START_TEST(an_error_takes_the_place_of_the_items_that_are_left)
{
	make_known_parts();
	results[2] = (struct kv_result){ .status = KV_NO_MEMORY };
	ask("MGET a b c d\nGET a\n");
	expect("4\n1\nNOT_FOUND\nERROR: out of memory\nERROR: out of memory\nNOT_FOUND\n");
}
END_TEST

START_TEST(what_is_no_call_is_not_submitted)
{
	results[0] = (struct kv_result){ .status = KV_NOT_FOUND };
	ask("\nFOO a\nGET too-long-\nGET a\nSET a 12345678901234567\nQUIT\nGET b\n");
	expect("ERROR: empty command\nERROR: unknown command\nERROR: key too long\nNOT_FOUND\n"
	       "ERROR: value too long\nBYE\n");
	ck_assert_uint_eq(submitted, 1);
	ck_assert_uint_eq(prepared, 3); /* QUIT and GET b, too: all lines are read first */
}
END_TEST

/* Commit 1 works and 2 fails. The replies behind them wait for their places; no value is shown before its commit. */
START_TEST(a_result_waits_for_its_commit)
{
	results[0] = (struct kv_result){ .kind = KV_INTEGER, .integer = -7, .commit = 1 };
	results[1] = (struct kv_result){ .kind = KV_BYTES, .bytes = { "one", 3 }, .commit = 1 };
	results[2] = (struct kv_result){ .kind = KV_BYTES, .bytes = { "two", 3 }, .commit = 2 };
	results[3] = (struct kv_result){ .status = KV_NOT_FOUND, .commit = 2 };
	results[4] = (struct kv_result){ .kind = KV_BYTES, .bytes = { "safe", 4 } };
	ask("GET a\nGET a\nGET a\nGET a\nGET a\n");
	expect("");
	streams_resolve(instance, 1, 1);
	expect("-7\none\n");
	ck_assert(!LIST_EMPTY(&instance->waiters));
	streams_resolve(instance, 1, 2);
	ck_assert(LIST_EMPTY(&instance->waiters));
	expect("ERROR: storage failed\nERROR: storage failed\nsafe\n");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("kv_lines");
	TCase *tests = tcase_create("kv_lines");
	SRunner *runner;
	int not_passed;

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_add_test(tests, every_result_has_its_line);
	tcase_add_test(tests, a_status_has_its_line);
	tcase_add_test(tests, a_value_that_is_no_line_is_not_sent);
	tcase_add_test(tests, items_that_are_no_lines_are_escaped);
	tcase_add_test(tests, a_list_of_unknown_length_is_collected);
	tcase_add_test(tests, a_part_leaves_time_for_others);
	tcase_add_test(tests, a_collected_list_waits_for_its_commit);
	tcase_add_test(tests, the_failure_of_a_commit_takes_the_place_of_the_list);
	tcase_add_test(tests, a_long_list_is_sent_as_it_is_read);
	tcase_add_test(tests, no_piece_of_a_long_list_is_sent_before_its_commit);
	tcase_add_test(tests, no_piece_of_a_long_list_is_sent_after_its_commit_has_failed);
	tcase_add_test(tests, a_client_that_leaves_ends_its_listing);
	tcase_add_test(tests, an_error_ends_a_collected_list);
	tcase_add_test(tests, a_list_of_known_length_is_sent_in_parts);
	tcase_add_test(tests, the_failure_of_a_commit_takes_the_place_of_its_items);
	tcase_add_test(tests, an_error_takes_the_place_of_the_items_that_are_left);
	tcase_add_test(tests, what_is_no_call_is_not_submitted);
	tcase_add_test(tests, a_result_waits_for_its_commit);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	not_passed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return not_passed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
