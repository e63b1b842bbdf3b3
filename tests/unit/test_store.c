/*
 * The store with a directory, and a host that only notes what it is asked for: what rests on which commit, what is
 * reported when, and what is undone.
 */
#include <check.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/error.h"
#include "kv/command.h"
#include "kv/engine.h"
#include "kv/store.h"

static char directory[] = "/tmp/echod-durable-XXXXXX";
static struct engine *engine;

/* What the host has been told. */
static int64_t asked_ms; /* -1 = for nothing */
static uint64_t safe, failed;

/* --- the C library's functions, where a test has to choose who comes first --- */

static atomic_bool hold_disk, disk_is_held, release_in_read;
static atomic_int calls; /* of any thread */

int fdatasync(int fd)
{
	while (hold_disk) {
		disk_is_held = true;
		usleep(100);
	}
	return (int)syscall(SYS_fdatasync, fd);
}

int eventfd_write(int fd, eventfd_t value)
{
	ssize_t written = write(fd, &value, sizeof(value));

	calls++;
	return written == sizeof(value) ? 0 : -1;
}

/* The commit ends, and the flusher calls, right before this read. */
int eventfd_read(int fd, eventfd_t *value)
{
	if (release_in_read) {
		int before = calls;

		release_in_read = hold_disk = false;
		while (calls == before)
			usleep(100);
	}
	return read(fd, value, sizeof(*value)) == sizeof(*value) ? 0 : -1;
}

/* --- the host and the engine --- */

static void note_work(void *arg, int64_t ms)
{
	(void)arg;
	asked_ms = ms;
}

static void note_committed(void *arg, uint64_t commit, bool ok)
{
	(void)arg;
	*(ok ? &safe : &failed) = commit;
}

static void note_loaded(void *arg)
{
	(void)arg;
}

static void start(bool always, size_t max_memory)
{
	struct engine_settings settings = {
		.name = "kv",
		.directory = directory,
		.always = always,
		.interval = 400,
		.max_memory = max_memory,
		.max_value = 65536,
	};
	struct engine_host host = {
		.work_in = note_work, .committed = note_committed, .loaded = note_loaded
	};
	struct pollfd call = { .events = POLLIN };
	struct error error;

	asked_ms = -1;
	safe = failed = 0;
	engine = store_new(&settings, &host, &error);
	ck_assert_msg(engine != NULL, "%s", error.text);
	engine->ops->work(engine);
	call.fd = engine->fd;
	while (engine->ops->state(engine, &error) == ENGINE_LOADING) {
		ck_assert_int_eq(poll(&call, 1, 20000), 1);
		engine->ops->work(engine);
	}
	ck_assert_msg(engine->ops->state(engine, &error) == ENGINE_READY, "%s", error.text);
	asked_ms = -1;
}

static void restart(bool always)
{
	engine->ops->free(engine, true);
	start(always, 0);
}

static void make_directory(void)
{
	strcpy(directory + strlen(directory) - 6, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(path);
}

static void remove_directory(void)
{
	engine->ops->free(engine, true);
	nftw(directory, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* Runs the command with that key; value NULL = it takes none. */
static struct kv_result run(const char *command, const char *name, const char *value)
{
	const struct call_limits limits = { .max_key = 250, .max_value = 65536 };
	struct slice words[] = { { name, strlen(name) },
		{ value, value == NULL ? 0 : strlen(value) } };
	struct kv_result result;
	struct call call;

	ck_assert_int_eq(command_read(command_find((struct slice){ command, strlen(command) }),
			     words, value == NULL ? 1 : 2, &limits, &call),
	    KV_OK);
	engine->ops->prepare(engine, &call, 1);
	engine->ops->submit(engine, &call, &result);
	return result;
}

static struct kv_result set(const char *name, const char *value)
{
	return run("SET", name, value);
}

static struct kv_result get(const char *name)
{
	return run("GET", name, NULL);
}

static struct kv_result del(const char *name)
{
	return run("DEL", name, NULL);
}

static void expect_value(const char *name, const char *value)
{
	struct kv_result result = get(name);

	ck_assert_int_eq(result.status, value == NULL ? KV_NOT_FOUND : KV_OK);
	ck_assert_uint_eq(result.commit, 0);
	if (value != NULL) {
		ck_assert_uint_eq(result.bytes.length, strlen(value));
		ck_assert_mem_eq(result.bytes.bytes, value, strlen(value));
	}
}

/* Works when the engine has asked for it or its thread calls, until the commit is safe or has failed. */
static void wait_for(const uint64_t *what, uint64_t commit)
{
	struct pollfd call = { .fd = engine->fd, .events = POLLIN };

	while (*what < commit) {
		int wait = asked_ms == -1 ? 20000 : (int)asked_ms;

		asked_ms = -1;
		ck_assert_int_ge(poll(&call, 1, wait), wait == 20000);
		engine->ops->work(engine);
	}
}

START_TEST(an_answer_rests_on_its_commit)
{
	struct kv_result first, second;

	start(true, 0);
	first = set("a", "1");
	ck_assert_int_eq(first.status, KV_OK);
	ck_assert_uint_ne(first.commit, 0);
	ck_assert_int_eq(asked_ms, 0);
	ck_assert_uint_eq(get("a").commit, first.commit);
	ck_assert_uint_eq(get("b").commit, 0); /* is not, and is safely not */
	engine->ops->work(engine);
	second = set("a", "2"); /* the first is on its way */
	ck_assert_uint_gt(second.commit, first.commit);
	ck_assert_uint_eq(get("a").commit, second.commit);
	wait_for(&safe, first.commit);
	ck_assert_uint_eq(get("a").commit, second.commit);
	wait_for(&safe, second.commit);
	expect_value("a", "2");
	restart(true);
	expect_value("a", "2");
}
END_TEST

START_TEST(a_deletion_is_a_change)
{
	struct kv_result deleted;

	start(true, 0);
	ck_assert_int_eq(del("a").status, KV_NOT_FOUND);
	ck_assert_uint_eq(del("a").commit, 0);
	set("a", "1");
	engine->ops->work(engine);
	wait_for(&safe, get("a").commit);
	deleted = del("a");
	ck_assert_int_eq(deleted.status, KV_OK);
	ck_assert_int_eq(get("a").status, KV_NOT_FOUND);
	ck_assert_uint_eq(get("a").commit, deleted.commit);
	ck_assert_uint_eq(del("a").commit, deleted.commit); /* that it is gone is not safe yet */
	engine->ops->work(engine);
	wait_for(&safe, deleted.commit);
	restart(true);
	expect_value("a", NULL);
}
END_TEST

/* Files may not grow: what is outstanding is undone, the newest first. */
START_TEST(what_fails_is_undone)
{
	static char long_value[60000];
	struct rlimit before, none;
	struct kv_result third;

	memset(long_value, 'x', sizeof(long_value) - 1);
	start(true, 0);
	set("a", "1");
	set("b", "1");
	engine->ops->work(engine);
	wait_for(&safe, get("b").commit);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	none = (struct rlimit){ 0, before.rlim_max };
	setrlimit(RLIMIT_FSIZE, &none);
	set("a", long_value);
	set("a", "3");
	set("new", "1");
	engine->ops->work(engine);
	set("a", "4");
	third = del("b");
	wait_for(&failed, third.commit);
	expect_value("a", "1");
	expect_value("b", "1");
	expect_value("new", NULL);
	ck_assert_int_eq(set("a", "5").status, KV_UNAVAILABLE);
	ck_assert_int_eq(del("a").status, KV_UNAVAILABLE);
	setrlimit(RLIMIT_FSIZE, &before);
	while (set("a", "6").status == KV_UNAVAILABLE) {
		struct pollfd call = { .fd = engine->fd, .events = POLLIN };

		ck_assert_int_eq(poll(&call, 1, 20000), 1);
		engine->ops->work(engine);
	}
	engine->ops->work(engine);
	wait_for(&safe, get("a").commit);
	restart(true);
	expect_value("a", "6");
	expect_value("b", "1");
	expect_value("new", NULL);
}
END_TEST

START_TEST(a_full_store_changes_nothing)
{
	struct engine_stats stats;
	char name[16];
	int i = 0;

	start(true, 8192 + 65536);
	do
		snprintf(name, sizeof(name), "key%d", i++);
	while (set(name, "0123456789012345678901234567890123456789").status == KV_OK);
	ck_assert_int_eq(set(name, "0123456789012345678901234567890123456789").status, KV_FULL);
	ck_assert_int_eq(get(name).status, KV_NOT_FOUND);
	ck_assert_uint_eq(get(name).commit, 0);
	engine->ops->stats(engine, &stats);
	ck_assert_uint_eq(stats.uncommitted, (size_t)i - 1);
	engine->ops->work(engine);
	wait_for(&safe, get("key0").commit);
	restart(true);
	expect_value(name, NULL);
	expect_value("key0", "0123456789012345678901234567890123456789");
}
END_TEST

/*
 * The loop comes because of an earlier call, and the flusher calls by the same eventfd before the loop has read it: the
 * completion is seen in that turn, or the eventfd is still readable.
 */
START_TEST(no_call_is_lost)
{
	uint64_t commit;

	start(true, 0);
	hold_disk = true;
	set("a", "1");
	engine->ops->work(engine);
	commit = get("a").commit;
	while (!disk_is_held)
		usleep(100);
	eventfd_write(engine->fd, 1);
	release_in_read = true;
	engine->ops->work(engine);
	ck_assert(!release_in_read);
	wait_for(&safe, commit);
	restart(true);
	expect_value("a", "1");
}
END_TEST

/* Until it is loaded, every command is told so, and changes nothing. */
START_TEST(a_store_that_is_being_loaded_answers_so)
{
	struct engine_settings settings = { .name = "kv", .directory = directory, .always = true };
	struct engine_host host = {
		.work_in = note_work, .committed = note_committed, .loaded = note_loaded
	};
	struct error error;

	hold_disk = true;
	engine = store_new(&settings, &host, &error);
	ck_assert_ptr_nonnull(engine);
	engine->ops->work(engine);
	while (!disk_is_held)
		usleep(100);
	ck_assert_int_eq(engine->ops->state(engine, &error), ENGINE_LOADING);
	ck_assert_int_eq(set("a", "1").status, KV_LOADING);
	ck_assert_int_eq(get("a").status, KV_LOADING);
	hold_disk = false;
	restart(true);
	expect_value("a", NULL);
}
END_TEST

/* Told at once, and committed when half of the interval is over; or at the end. */
START_TEST(an_interval_answers_at_once)
{
	start(false, 0);
	ck_assert_uint_eq(set("a", "1").commit, 0);
	ck_assert_int_eq(asked_ms, 200);
	expect_value("a", "1");
	asked_ms = -1;
	set("b", "1");
	ck_assert_int_eq(asked_ms, -1);
	engine->ops->work(engine); /* too early */
	ck_assert_int_gt(asked_ms, 0);
	ck_assert_int_le(asked_ms, 200);
	restart(false);
	expect_value("a", "1");
	expect_value("b", "1");
}
END_TEST

/* So much is not on the disk that clients wait. It fails; but what stays, to be written again, is told as done. */
START_TEST(an_interval_keeps_what_it_made_wait)
{
	static char long_value[60000];
	struct rlimit none = { 0, RLIM_INFINITY };
	uint64_t commit = 0;

	memset(long_value, 'x', sizeof(long_value) - 1);
	start(false, 0);
	for (int i = 0; i < 2000 && commit == 0; i++)
		commit = set("a", long_value).commit;
	ck_assert_uint_gt(commit, 0);
	signal(SIGXFSZ, SIG_IGN);
	setrlimit(RLIMIT_FSIZE, &none);
	wait_for(&safe, commit);
	ck_assert_uint_eq(failed, 0);
	expect_value("a", long_value);
	ck_assert_int_eq(set("a", "1").status, KV_UNAVAILABLE);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("store");
	TCase *durable = tcase_create("durable");
	SRunner *runner;
	int not_passed;

	tcase_add_checked_fixture(durable, make_directory, remove_directory);
	tcase_add_test(durable, an_answer_rests_on_its_commit);
	tcase_add_test(durable, a_deletion_is_a_change);
	tcase_add_test(durable, what_fails_is_undone);
	tcase_add_test(durable, an_interval_keeps_what_it_made_wait);
	tcase_add_test(durable, a_full_store_changes_nothing);
	tcase_add_test(durable, no_call_is_lost);
	tcase_add_test(durable, a_store_that_is_being_loaded_answers_so);
	tcase_add_test(durable, an_interval_answers_at_once);
	suite_add_tcase(suite, durable);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	not_passed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return not_passed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
