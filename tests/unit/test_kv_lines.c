/*
 * kv in lines over an engine that answers what the test says: each kind of result as a reply, replies that rest on a
 * commit, and all keys of a run prepared before its first call.
 */
#include <check.h>
#include <event2/event.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kv/engine.h"
#include "net/admission.h"
#include "net/instance.h"
#include "net/loop.h"
#include "net/settings.h"
#include "net/stream.h"
#include "services/kv.h"
#include "services/kv_words.h"

static struct loop *loop;
static struct instance *instance;
static struct instance_settings settings = { .max_connections = 10 };
static struct line_settings lines = { .max_line = 64 };
static struct kv kv;
static int client;

/* --- the engine --- */

#define RESULTS_MAX 8
static struct kv_result results[RESULTS_MAX]; /* of the calls that come */
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
	streams_settle(instance, 1, 1, kv_words_failure);
	expect("-7\none\n");
	ck_assert(!LIST_EMPTY(&instance->waiters));
	streams_settle(instance, 1, 2, kv_words_failure);
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
	tcase_add_test(tests, what_is_no_call_is_not_submitted);
	tcase_add_test(tests, a_result_waits_for_its_commit);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	not_passed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return not_passed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
