/* How long a batch waits: long enough for clients that come back, and for nobody else. */
#include <check.h>
#include <stdlib.h>

#include "kv/group_commit.h"

#define COMMIT 400 /* us */

static struct group_commit group;

static void begin_anew(void)
{
	group = (struct group_commit){ 0 };
}

START_TEST(before_the_first_commit_nobody_is_waited_for)
{
	ck_assert(!group_commit_waits(&group, 1, 0));
}
END_TEST

START_TEST(who_is_alone_does_not_wait)
{
	group_commit_begin(&group, 1, 0, COMMIT, 1000);
	ck_assert(!group_commit_waits(&group, 1, 1010));
}
END_TEST

/* Lets as many come as it waits for, each after so many us; how many are in the batch then. */
static size_t come(size_t open, int64_t *now, int64_t each)
{
	while (group_commit_waits(&group, open, *now)) {
		*now += each;
		open++;
	}
	return open;
}

/* Serving 50 takes less than a commit: they go together. */
START_TEST(two_halves_become_one)
{
	int64_t now = 1000;

	group_commit_begin(&group, 25, 25, COMMIT, now);
	ck_assert_uint_eq(come(25, &now, COMMIT / 100), 50);
	group_commit_begin(&group, 50, 0, COMMIT, now);
	ck_assert_uint_eq(come(0, &now, COMMIT / 100), 50); /* it was worth it */
}
END_TEST

/* Serving 50 takes as long as two commits: half of them are served during one. */
START_TEST(one_becomes_two_halves)
{
	int64_t now = 1000;

	group_commit_begin(&group, 50, 0, COMMIT, now);
	ck_assert_uint_eq(come(0, &now, COMMIT / 25), 50);
	for (int i = 0; i < 20; i++) {
		group_commit_begin(&group, 40, 10, COMMIT, now);
		ck_assert_uint_eq(come(10, &now, COMMIT / 25), 25);
	}
	group_commit_begin(&group, 25, 25, COMMIT, now);
	ck_assert(!group_commit_waits(&group, 25, now)); /* as many have come meanwhile */
}
END_TEST

/* Whoever has once been slow is not taken for slow for ever: there is a look at how long it takes. */
START_TEST(halves_are_given_up)
{
	int64_t now = 1000;
	size_t changes;
	int commits = 0;

	group_commit_begin(&group, 50, 0, COMMIT, now);
	come(0, &now, COMMIT / 25);
	do {
		group_commit_begin(&group, 25, 25, COMMIT, now);
		changes = come(25, &now, COMMIT / 100);
		commits++;
	} while (changes < 50 && commits < 100);
	ck_assert_int_lt(commits, 100);
	for (int i = 0; i < 20; i++) {
		group_commit_begin(&group, 50, 0, COMMIT, now);
		changes = come(0, &now, COMMIT / 100);
	}
	ck_assert_uint_eq(changes, 50);
}
END_TEST

START_TEST(who_does_not_come_is_not_waited_for_long)
{
	group_commit_begin(&group, 25, 25, COMMIT, 1000);
	ck_assert(group_commit_waits(&group, 25, 1000));
	ck_assert(group_commit_waits(&group, 25, 1000 + COMMIT / 2 - 1));
	ck_assert(!group_commit_waits(&group, 25, 1000 + COMMIT / 2));
}
END_TEST

START_TEST(a_trickle_is_not_waited_for_long)
{
	group_commit_begin(&group, 5000, 0, COMMIT, 0);
	for (int64_t now = 0; now < 4 * COMMIT; now += 50)
		ck_assert(group_commit_waits(&group, 1 + (size_t)now / 50, now));
	ck_assert(!group_commit_waits(&group, 1000, 4 * COMMIT));
}
END_TEST

START_TEST(a_slow_disk_does_not_make_it_longer)
{
	const int64_t slow = 300000;

	group_commit_begin(&group, 25, 25, slow, 0);
	ck_assert(group_commit_waits(&group, 25, 0));
	ck_assert(!group_commit_waits(&group, 25, 1000));
	begin_anew();
	group_commit_begin(&group, 25, 25, slow, 0);
	for (int64_t now = 0; now < 5000; now += 900)
		ck_assert(group_commit_waits(&group, 25 + (size_t)now / 900, now));
	ck_assert(!group_commit_waits(&group, 49, 5000));
}
END_TEST

START_TEST(after_a_wait_in_vain_it_rests)
{
	int commits = 0;

	group_commit_begin(&group, 25, 25, COMMIT, 0);
	group_commit_waits(&group, 25, 0);
	group_commit_waits(&group, 25, COMMIT);
	do {
		group_commit_begin(&group, 25, 25, COMMIT, 0);
		commits++;
	} while (!group_commit_waits(&group, 25, 0) && commits < 100);
	ck_assert_int_gt(commits, 8);
	ck_assert_int_lt(commits, 100);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("group");
	TCase *waits = tcase_create("group");
	SRunner *runner;
	int not_passed;

	tcase_add_checked_fixture(waits, begin_anew, NULL);
	tcase_add_test(waits, before_the_first_commit_nobody_is_waited_for);
	tcase_add_test(waits, who_is_alone_does_not_wait);
	tcase_add_test(waits, two_halves_become_one);
	tcase_add_test(waits, one_becomes_two_halves);
	tcase_add_test(waits, halves_are_given_up);
	tcase_add_test(waits, who_does_not_come_is_not_waited_for_long);
	tcase_add_test(waits, a_trickle_is_not_waited_for_long);
	tcase_add_test(waits, a_slow_disk_does_not_make_it_longer);
	tcase_add_test(waits, after_a_wait_in_vain_it_rests);
	suite_add_tcase(suite, waits);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	not_passed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return not_passed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
