/*
 * How root is given up: the calls and their order, and that each failure is the end of it. This program's own
 * functions come before those of the C library; they note what was called and change nothing.
 */
#include <check.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/error.h"
#include "core/privilege.h"

#define USER_ID 1234
#define GROUP_ID 4321

static struct {
	char calls[256];     /* "initgroups setresgid ..." */
	const char *failing; /* one of them */
	uid_t effective;
	bool setuid_leads_back, seteuid_leads_back; /* to root */
	struct passwd *entry;
	int entry_error;
} world;

static int called(const char *call)
{
	size_t length = strlen(world.calls);

	snprintf(world.calls + length, sizeof(world.calls) - length, "%s ", call);
	if (world.failing == NULL || strcmp(call, world.failing) != 0)
		return 0;
	errno = EPERM;
	return -1;
}

int initgroups(const char *user, gid_t group)
{
	ck_assert_str_eq(user, "user");
	ck_assert_uint_eq(group, world.entry->pw_gid);
	return called("initgroups");
}

int setresgid(gid_t real, gid_t effective, gid_t saved)
{
	ck_assert(real == effective && effective == saved && saved == world.entry->pw_gid);
	return called("setresgid");
}

int setresuid(uid_t real, uid_t effective, uid_t saved)
{
	ck_assert(real == effective && effective == saved && saved == world.entry->pw_uid);
	world.effective = effective;
	return called("setresuid");
}

int setuid(uid_t id)
{
	ck_assert_uint_eq(id, 0);
	called("setuid");
	return world.setuid_leads_back ? 0 : -1;
}

int seteuid(uid_t id)
{
	called("seteuid");
	if (id == 0 && !world.seteuid_leads_back)
		return -1;
	world.effective = id;
	return 0;
}

int setegid(gid_t id)
{
	(void)id;
	return called("setegid");
}

int getgroups(int size, gid_t *groups)
{
	(void)size;
	groups[0] = 7;
	return called("getgroups") == -1 ? -1 : 1;
}

int setgroups(size_t count, const gid_t *groups)
{
	ck_assert(count == 1 && groups[0] == 7);
	return called("setgroups");
}

uid_t geteuid(void)
{
	return world.effective;
}

struct passwd *getpwnam(const char *user)
{
	ck_assert_str_eq(user, "user");
	errno = world.entry_error;
	return world.entry;
}

/* libcap, which libsystemd brings along, has questions of its own. */
int prctl(int option, ...)
{
	unsigned long values[4];
	va_list args;

	va_start(args, option);
	for (int i = 0; i < 4; i++)
		values[i] = va_arg(args, unsigned long);
	va_end(args);
	if (option != PR_SET_NO_NEW_PRIVS)
		return (int)syscall(SYS_prctl, option, values[0], values[1], values[2], values[3]);
	ck_assert_uint_eq(values[0], 1);
	return called("prctl");
}

static struct passwd user, root;
static struct error error;

static void setup(void)
{
	user = (struct passwd){ .pw_uid = USER_ID, .pw_gid = GROUP_ID };
	root = (struct passwd){ 0 };
	memset(&world, 0, sizeof(world));
	world.entry = &user;
	memset(&error, 0, sizeof(error));
}

static void expect_dropped(const char *calls)
{
	ck_assert_int_eq(privilege_drop("user", &error), 0);
	ck_assert_str_eq(world.calls, calls);
}

static void expect_refused(const char *calls, const char *text)
{
	ck_assert_int_eq(privilege_drop("user", &error), -1);
	ck_assert_str_eq(world.calls, calls);
	ck_assert_str_eq(error.text, text);
}

START_TEST(groups_group_user_and_no_way_back)
{
	expect_dropped("initgroups setresgid setresuid setuid seteuid ");
}
END_TEST

static const struct {
	const char *call, *calls;
} failures[] = {
	{ "initgroups", "initgroups " },
	{ "setresgid", "initgroups setresgid " },
	{ "setresuid", "initgroups setresgid setresuid " },
};

START_TEST(each_failure_is_the_end)
{
	char text[128];

	world.failing = failures[_i].call;
	snprintf(text, sizeof(text), "cannot become user: %s: Operation not permitted",
	    failures[_i].call);
	expect_refused(failures[_i].calls, text);
	ck_assert_int_eq(errno, EPERM);
}
END_TEST

START_TEST(a_way_back_is_refused)
{
	world.setuid_leads_back = _i == 0;
	world.seteuid_leads_back = _i == 1;
	expect_refused(_i == 0 ? "initgroups setresgid setresuid setuid "
			       : "initgroups setresgid setresuid setuid seteuid ",
	    "cannot become user: the way back to root is still open: Operation not permitted");
}
END_TEST

START_TEST(who_wants_to_be_root_may_go_back)
{
	world.entry = &root;
	expect_dropped("initgroups setresgid setresuid ");
}
END_TEST

START_TEST(who_is_not_root_stays)
{
	world.effective = USER_ID;
	expect_dropped("");
	world.effective = 0;
	ck_assert_int_eq(privilege_drop(NULL, &error), 0);
	ck_assert_str_eq(world.calls, "");
}
END_TEST

START_TEST(who_was_root)
{
	uid_t uid;
	gid_t gid;

	world.effective = USER_ID;
	ck_assert(!privilege_was_root());
	world.effective = 0;
	ck_assert(privilege_was_root());
	expect_dropped("initgroups setresgid setresuid setuid seteuid ");
	ck_assert_uint_eq(world.effective, USER_ID);
	ck_assert(privilege_was_root());
	ck_assert_int_eq(privilege_ids("user", &uid, &gid, &error), 0);
	ck_assert(uid == USER_ID && gid == GROUP_ID);
}
END_TEST

START_TEST(unknown_users)
{
	world.entry = NULL;
	expect_refused("", "user: there is no user user");
	ck_assert_int_eq(errno, ENOENT);
	world.entry_error = EIO;
	expect_refused("", "cannot become user: getpwnam: Input/output error");
}
END_TEST

START_TEST(seal)
{
	ck_assert_int_eq(privilege_seal(&error), 0);
	ck_assert_str_eq(world.calls, "prctl ");
	world.failing = "prctl";
	ck_assert_int_eq(privilege_seal(&error), -1);
	ck_assert_str_eq(error.text, "cannot set no_new_privs: Operation not permitted");
}
END_TEST

START_TEST(lend_and_return)
{
	ck_assert_int_eq(privilege_lend("user", &error), 0);
	ck_assert_str_eq(world.calls, "getgroups initgroups setegid seteuid ");
	ck_assert_uint_eq(world.effective, USER_ID);
	world.calls[0] = '\0';
	world.seteuid_leads_back = true; /* that is what lending is */
	privilege_return();
	ck_assert_str_eq(world.calls, "seteuid setegid setgroups ");
	ck_assert_uint_eq(world.effective, 0);
	world.calls[0] = '\0';
	privilege_return();
	ck_assert_str_eq(world.calls, "");
}
END_TEST

START_TEST(a_lending_that_fails)
{
	static const char *const calls[] = { "getgroups ", "getgroups initgroups " };

	world.failing = _i == 0 ? "getgroups" : "initgroups";
	ck_assert_int_eq(privilege_lend("user", &error), -1);
	ck_assert_str_eq(world.calls, calls[_i]);
	ck_assert_uint_eq(world.effective, 0);
	privilege_return();
	ck_assert_str_eq(world.calls, calls[_i]);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("privilege");
	TCase *drop = tcase_create("drop"), *lend = tcase_create("lend");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(drop, setup, NULL);
	tcase_add_test(drop, groups_group_user_and_no_way_back);
	tcase_add_loop_test(drop, each_failure_is_the_end, 0, 3);
	tcase_add_loop_test(drop, a_way_back_is_refused, 0, 2);
	tcase_add_test(drop, who_wants_to_be_root_may_go_back);
	tcase_add_test(drop, who_is_not_root_stays);
	tcase_add_test(drop, who_was_root);
	tcase_add_test(drop, unknown_users);
	tcase_add_test(drop, seal);
	suite_add_tcase(suite, drop);
	tcase_add_checked_fixture(lend, setup, NULL);
	tcase_add_test(lend, lend_and_return);
	tcase_add_loop_test(lend, a_lending_that_fails, 0, 2);
	suite_add_tcase(suite, lend);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
