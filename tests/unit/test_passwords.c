/*
 * The thread that checks passwords. In the place of crypt(3) there is one that waits until it is let pass, so that a
 * check is in the state that a test wants: it waits, is the current one, or is finished.
 */
#include "net/passwords.h"

#include <arpa/inet.h>
#include <check.h>
#include <crypt.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <event2/event.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/secret.h"
#include "core/thread.h"
#include "net/loop.h"
#include "net/peer.h"
#include "net/stream.h"

#define FAKE "$fake$"    /* and the password itself */
#define LONGEST "$long$" /* matches what has SECRET_PASSWORD_MAX bytes */
#define BCRYPT "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW" /* of "U*U" */
#define ENOUGH 100000

/* --- crypt(3) --- */

static struct monitor gate; /* of the next two */
static size_t arrived, allowed;

static bool is_right(const char *password, const char *setting)
{
	if (strcmp(setting, LONGEST) == 0)
		return strlen(password) == SECRET_PASSWORD_MAX;
	return strcmp(password, setting + strlen(FAKE)) == 0;
}

char *crypt_r(const char *password, const char *setting, struct crypt_data *data)
{
	static char *(*real)(const char *password, const char *setting, struct crypt_data *data);

	monitor_lock(&gate);
	arrived++;
	monitor_signal(&gate);
	while (arrived > allowed)
		monitor_wait(&gate, INT64_MAX);
	monitor_unlock(&gate);
	if (strncmp(setting, FAKE, 6) != 0 && strncmp(setting, LONGEST, 6) != 0) {
		real = (char *(*)(const char *, const char *, struct crypt_data *))(uintptr_t)dlsym(
		    RTLD_NEXT, "crypt_r");
		return real(password, setting, data);
	}
	return strcpy(data->output, is_right(password, setting) ? setting : "$wrong$");
}

static void let_pass(size_t checks)
{
	monitor_lock(&gate);
	allowed += checks;
	monitor_signal(&gate);
	monitor_unlock(&gate);
}

/* Waits until that many checks have begun. All before the last one are then finished. */
static void await_arrival(size_t checks)
{
	monitor_lock(&gate);
	while (arrived < checks)
		monitor_wait(&gate, INT64_MAX);
	monitor_unlock(&gate);
}

static size_t count_arrived(void)
{
	size_t count;

	monitor_lock(&gate);
	count = arrived;
	monitor_unlock(&gate);
	return count;
}

/* --- checks --- */

static struct loop *loop;
static struct passwords *passwords;
static size_t threads, descriptors; /* before there are passwords */
static char verdicts[512];          /* + right, - wrong; in their order */
static const struct peer nobody = { .family = AF_UNIX };
static struct password_check *to_cancel; /* by the next one that is done */

static size_t count_entries(const char *path)
{
	DIR *directory = opendir(path);
	size_t count = 0;

	ck_assert_ptr_nonnull(directory);
	while (readdir(directory) != NULL)
		count++;
	closedir(directory);
	return count;
}

static void *write_path(void *arg)
{
	sprintf(arg, "/proc/self/task/%d", gettid());
	return NULL;
}

/* With the first thread, a sanitizer may start one of its own. */
static void run_a_thread(void)
{
	char path[64];
	pthread_t thread;

	ck_assert_int_eq(thread_start(&thread, write_path, path), 0);
	pthread_join(thread, NULL);
	while (access(path, F_OK) == 0)
		sched_yield();
}

static void setup(void)
{
	monitor_init(&gate);
	loop = loop_new(100, stream_check, streams_flush_cb);
	run_a_thread();
	threads = count_entries("/proc/self/task");
	descriptors = count_entries("/proc/self/fd");
	passwords = passwords_new(loop);
	ck_assert_ptr_nonnull(passwords);
}

/* Nothing is left of the passwords once the thread has ended, which free() need not have waited for. */
static void teardown(void)
{
	passwords_free(passwords);
	let_pass(ENOUGH);
	while (count_entries("/proc/self/task") > threads)
		sched_yield();
	ck_assert_uint_eq(count_entries("/proc/self/fd"), descriptors);
	loop_free(loop);
}

static void done(void *arg, bool matches)
{
	(void)arg;
	verdicts[strlen(verdicts)] = matches ? '+' : '-';
	if (to_cancel != NULL)
		passwords_cancel(passwords, to_cancel);
	to_cancel = NULL;
}

static struct password_check *check_bytes(
    const char *hash, const char *password, size_t length, const struct peer *peer)
{
	return passwords_check(
	    passwords, hash, (struct slice){ password, length }, peer, done, NULL);
}

static struct password_check *check_text(const char *hash, const char *password)
{
	static uint32_t sources;
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct peer peer;

	in.sin_addr.s_addr = htonl(UINT32_C(0x0a000000) + sources++);
	peer_set(&peer, (struct sockaddr *)&in, sizeof(in));
	return check_bytes(hash, password, strlen(password), &peer);
}

/* A right one from that address. */
static struct password_check *check_from(const char *address)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	struct peer peer;

	if (inet_pton(AF_INET, address, &in.sin_addr) == 1) {
		peer_set(&peer, (struct sockaddr *)&in, sizeof(in));
	} else {
		ck_assert_int_eq(inet_pton(AF_INET6, address, &in6.sin6_addr), 1);
		peer_set(&peer, (struct sockaddr *)&in6, sizeof(in6));
	}
	return check_bytes(FAKE "a", "a", 1, &peer);
}

static bool knows(const char *hash, const char *password)
{
	return passwords_know(passwords, hash, (struct slice){ password, strlen(password) });
}

static void expect_refusal(const struct password_check *check)
{
	ck_assert_int_eq(errno, EBUSY);
	ck_assert_ptr_null(check);
}

/* Lets the loop turn until there are these verdicts, in all. */
static void expect_verdicts(const char *expected)
{
	while (strlen(verdicts) < strlen(expected))
		event_base_loop(loop->base, EVLOOP_ONCE);
	event_base_loop(loop->base, EVLOOP_NONBLOCK);
	ck_assert_str_eq(verdicts, expected);
}

/* --- verdicts --- */

START_TEST(a_password_is_right_or_wrong)
{
	let_pass(ENOUGH);
	ck_assert_ptr_nonnull(check_text(FAKE "secret", "secret"));
	ck_assert_ptr_nonnull(check_text(FAKE "secret", "Secret"));
	ck_assert_ptr_nonnull(check_text(BCRYPT, "U*U"));
	ck_assert_ptr_nonnull(check_text(BCRYPT, "U*u"));
	await_arrival(4);
	ck_assert_str_eq(verdicts, ""); /* not before the loop turns */
	expect_verdicts("+-+-");
}
END_TEST

START_TEST(what_was_right_is_known)
{
	let_pass(ENOUGH);
	ck_assert(!knows(FAKE "a", "a"));
	check_text(FAKE "a", "a");
	check_text(FAKE "b", "a");
	expect_verdicts("+-");
	ck_assert(knows(FAKE "a", "a"));
	ck_assert(!knows(FAKE "b", "a"));
	ck_assert(!knows(FAKE "b", "b"));
	ck_assert(!knows(FAKE "a", "b"));
	ck_assert(!knows(FAKE "a", ""));
	/* Not the bytes of both count, but each of them. */
	ck_assert(!knows(FAKE, "aa"));
	ck_assert(!knows(FAKE "aa", ""));
}
END_TEST

START_TEST(what_crypt_cannot_take_is_wrong)
{
	static char longer[SECRET_PASSWORD_MAX + 2], hash[SECRET_HASH_MAX + 1];

	let_pass(ENOUGH);
	memset(longer, 'x', SECRET_PASSWORD_MAX + 1);
	memset(hash, 'x', SECRET_HASH_MAX);
	memcpy(hash, FAKE, strlen(FAKE));
	check_text(FAKE, "");
	check_bytes(FAKE "a", "a\0b", 3, &nobody);
	check_bytes(FAKE "a", "a\0", 2, &nobody);
	check_bytes(FAKE, "\0", 1, &nobody);
	check_text(LONGEST, longer);
	check_text(FAKE, longer);
	check_text(hash, hash + strlen(FAKE));
	check_text(LONGEST, longer + 1);
	expect_verdicts("-------+");
	/* Each was checked all the same, for the time that it takes. */
	ck_assert_uint_eq(count_arrived(), 8);
	ck_assert(knows(LONGEST, longer + 1));
	ck_assert(!knows(LONGEST, longer));
	ck_assert(!knows(hash, hash + strlen(FAKE)));
	ck_assert(!passwords_know(passwords, FAKE "a", (struct slice){ "a\0b", 3 }));
}
END_TEST

START_TEST(hash_and_password_are_copied)
{
	char hash[] = FAKE "a", password[] = "a";

	check_text(hash, password);
	memset(hash, 'x', sizeof(hash));
	memset(password, 'x', sizeof(password));
	let_pass(1);
	expect_verdicts("+");
}
END_TEST

START_TEST(the_oldest_known_one_is_forgotten)
{
	char hash[32], all[65] = "";

	let_pass(ENOUGH);
	for (int i = 0; i <= PASSWORDS_KNOWN; i += 32) {
		memset(verdicts, '\0', sizeof(verdicts));
		memset(all, '\0', sizeof(all));
		for (int j = i; j < i + 32 && j <= PASSWORDS_KNOWN; j++) {
			snprintf(hash, sizeof(hash), FAKE "%d", j);
			check_text(hash, hash + strlen(FAKE));
			check_text(hash, hash + strlen(FAKE)); /* takes no place of its own */
			strcat(all, "++");
		}
		expect_verdicts(all);
	}
	ck_assert(!knows(FAKE "0", "0"));
	for (int i = 1; i <= PASSWORDS_KNOWN; i++) {
		snprintf(hash, sizeof(hash), FAKE "%d", i);
		ck_assert(knows(hash, hash + strlen(FAKE)));
	}
}
END_TEST

/* --- limits --- */

START_TEST(the_queue_is_limited)
{
	static char all[PASSWORDS_WAITING + 3];

	memset(all, '+', PASSWORDS_WAITING + 2);
	ck_assert_ptr_nonnull(check_text(FAKE "a", "a"));
	await_arrival(1);
	for (int i = 0; i < PASSWORDS_WAITING; i++)
		ck_assert_ptr_nonnull(check_text(FAKE "a", "a"));
	expect_refusal(check_text(FAKE "a", "a"));
	expect_refusal(check_from("192.0.2.1"));
	let_pass(1);
	await_arrival(2);
	ck_assert_ptr_nonnull(check_text(FAKE "a", "a"));
	expect_refusal(check_text(FAKE "a", "a"));
	let_pass(ENOUGH);
	expect_verdicts(all);
}
END_TEST

/* The address, another one of the same source, and one of another source. */
static const char *const sources[][3] = {
	{ "192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2" },
	{ "2001:db8::1", "2001:db8:0:ff:ffff::2", "2001:db8:0:100::1" },
};

START_TEST(a_source_is_limited)
{
	const char *const *source = sources[_i];

	ck_assert_ptr_nonnull(check_from(source[0]));
	await_arrival(1);
	for (int i = 1; i < PASSWORDS_PER_SOURCE; i++)
		ck_assert_ptr_nonnull(check_from(source[i % 2]));
	expect_refusal(check_from(source[0]));
	expect_refusal(check_from(source[1]));
	ck_assert_ptr_nonnull(check_from(source[2]));
	ck_assert_ptr_nonnull(check_text(FAKE "a", "a"));
	/* A finished one does not count, even if the loop has not seen it yet. */
	let_pass(1);
	await_arrival(2);
	ck_assert_ptr_nonnull(check_from(source[1]));
	expect_refusal(check_from(source[0]));
	let_pass(ENOUGH);
	expect_verdicts("+++++++");
}
END_TEST

START_TEST(unix_sockets_are_limited)
{
	static char all[PASSWORDS_LOCAL + 1];

	memset(all, '+', PASSWORDS_LOCAL);
	ck_assert_ptr_nonnull(check_bytes(FAKE "a", "a", 1, &nobody));
	await_arrival(1);
	for (int i = 1; i < PASSWORDS_LOCAL; i++)
		ck_assert_ptr_nonnull(check_bytes(FAKE "a", "a", 1, &nobody));
	expect_refusal(check_bytes(FAKE "a", "a", 1, &nobody));
	let_pass(ENOUGH);
	expect_verdicts(all);
}
END_TEST

/* --- cancelling --- */

START_TEST(a_waiting_one_is_cancelled)
{
	struct password_check *check;

	check_from("192.0.2.1");
	await_arrival(1);
	check_from("192.0.2.1");
	check = check_from("192.0.2.1");
	check_from("192.0.2.1");
	expect_refusal(check_from("192.0.2.1"));
	passwords_cancel(passwords, check);
	ck_assert_ptr_nonnull(check_from("192.0.2.1"));
	expect_refusal(check_from("192.0.2.1"));
	let_pass(ENOUGH);
	expect_verdicts("++++");
	ck_assert_uint_eq(count_arrived(), 4);
}
END_TEST

/* It goes on, and counts, until its end. */
START_TEST(the_current_one_is_cancelled)
{
	struct password_check *check = check_from("192.0.2.1");

	await_arrival(1);
	passwords_cancel(passwords, check);
	for (int i = 1; i < PASSWORDS_PER_SOURCE; i++)
		ck_assert_ptr_nonnull(check_from("192.0.2.1"));
	expect_refusal(check_from("192.0.2.1"));
	let_pass(ENOUGH);
	expect_verdicts("+++");
	ck_assert(knows(FAKE "a", "a"));
}
END_TEST

START_TEST(a_finished_one_is_cancelled)
{
	struct password_check *check = check_text(FAKE "a", "a");

	check_text(FAKE "b", "a");
	let_pass(1);
	await_arrival(2);
	passwords_cancel(passwords, check);
	let_pass(1);
	expect_verdicts("-");
	ck_assert(knows(FAKE "a", "a"));
}
END_TEST

/* While the loop sees one as finished, another one is cancelled that is finished, too, or the current one. */
START_TEST(one_is_cancelled_by_another)
{
	check_text(FAKE "a", "a");
	to_cancel = check_text(FAKE "b", "b");
	check_text(FAKE "c", "x");
	let_pass(_i == 0 ? 2 : 1);
	await_arrival(_i == 0 ? 3 : 2);
	expect_verdicts("+");
	ck_assert_ptr_null(to_cancel);
	let_pass(ENOUGH);
	expect_verdicts("+-");
}
END_TEST

/* --- the end --- */

static void free_passwords(void)
{
	passwords_free(passwords);
	passwords = NULL;
}

START_TEST(the_end_without_a_check)
{
	free_passwords();
	ck_assert_uint_eq(count_entries("/proc/self/task"), threads);
}
END_TEST

START_TEST(the_end_when_nothing_waits)
{
	let_pass(1);
	check_text(FAKE "a", "a");
	expect_verdicts("+");
	ck_assert_uint_eq(count_entries("/proc/self/task"), threads + 1);
	free_passwords();
	while (count_entries("/proc/self/task") > threads) /* joined, and not yet out of /proc */
		sched_yield();
}
END_TEST

/* One is finished, one is the current one, one waits, one was cancelled. teardown() sees that nothing is left. */
START_TEST(the_end_while_one_is_checked)
{
	struct password_check *check;

	check_text(FAKE "a", "a");
	check = check_text(FAKE "b", "b");
	check_text(FAKE "c", "c");
	let_pass(1);
	await_arrival(2);
	if (_i == 1)
		passwords_cancel(passwords, check);
	free_passwords();
	event_base_loop(loop->base, EVLOOP_NONBLOCK);
	ck_assert_str_eq(verdicts, "");
	ck_assert_uint_eq(count_entries("/proc/self/task"), threads + 1);
	let_pass(1);
	while (count_entries("/proc/self/task") > threads)
		sched_yield();
	ck_assert_uint_eq(count_arrived(), 2);
}
END_TEST

START_TEST(the_end_of_none)
{
	passwords_free(NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("passwords");
	TCase *tc = tcase_create("passwords");
	SRunner *sr;
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_password_is_right_or_wrong);
	tcase_add_test(tc, what_was_right_is_known);
	tcase_add_test(tc, what_crypt_cannot_take_is_wrong);
	tcase_add_test(tc, hash_and_password_are_copied);
	tcase_add_test(tc, the_oldest_known_one_is_forgotten);
	tcase_add_test(tc, the_queue_is_limited);
	tcase_add_loop_test(tc, a_source_is_limited, 0, 2);
	tcase_add_test(tc, unix_sockets_are_limited);
	tcase_add_test(tc, a_waiting_one_is_cancelled);
	tcase_add_test(tc, the_current_one_is_cancelled);
	tcase_add_test(tc, a_finished_one_is_cancelled);
	tcase_add_loop_test(tc, one_is_cancelled_by_another, 0, 2);
	tcase_add_test(tc, the_end_without_a_check);
	tcase_add_test(tc, the_end_when_nothing_waits);
	tcase_add_loop_test(tc, the_end_while_one_is_checked, 0, 2);
	tcase_add_test(tc, the_end_of_none);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
