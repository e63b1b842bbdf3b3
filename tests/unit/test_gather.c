/* How long a batch waits: long enough for clients that come back, and for nobody else. */
#include <check.h>
#include <stdlib.h>

#include "kv/gather.h"

#define COMMIT 400 /* us */

static struct gather gather;

static void begin_anew(void)
{
	gather = (struct gather){ 0 };
}

START_TEST(before_the_first_commit_nobody_is_waited_for)
{
	ck_assert(!gather_waits(&gather, 1, 0));
}
END_TEST

START_TEST(who_is_alone_does_not_wait)
{
	gather_begin(&gather, 1, 0, COMMIT, 1000);
	ck_assert(!gather_waits(&gather, 1, 1010));
}
END_TEST

/* Lets as many come as it waits for, each after so many us; how many are in the batch then. */
static size_t come(size_t open, int64_t *now, int64_t each)
{
	while (gather_waits(&gather, open, *now)) {
		*now += each;
		open++;
	}
	return open;
}

/* Serving 50 takes less than a commit: they go together. */
START_TEST(two_halves_become_one)
{
	int64_t now = 1000;

	gather_begin(&gather, 25, 25, COMMIT, now);
	ck_assert_uint_eq(come(25, &now, COMMIT / 100), 50);
	gather_begin(&gather, 50, 0, COMMIT, now);
	ck_assert_uint_eq(come(0, &now, COMMIT / 100), 50); /* it was worth it */
}
END_TEST

/* Serving 50 takes as long as two commits: half of them are served during one. */
START_TEST(one_becomes_two_halves)
{
	int64_t now = 1000;

	gather_begin(&gather, 50, 0, COMMIT, now);
	ck_assert_uint_eq(come(0, &now, COMMIT / 25), 50);
	for (int i = 0; i < 20; i++) {
		gather_begin(&gather, 40, 10, COMMIT, now);
		ck_assert_uint_eq(come(10, &now, COMMIT / 25), 25);
	}
	gather_begin(&gather, 25, 25, COMMIT, now);
	ck_assert(!gather_waits(&gather, 25, now)); /* as many have come meanwhile */
}
END_TEST

/* Whoever has once been slow is not taken for slow for ever: there is a look at how long it takes. */
START_TEST(halves_are_given_up)
{
	int64_t now = 1000;
	size_t changes;
	int commits = 0;

	gather_begin(&gather, 50, 0, COMMIT, now);
	come(0, &now, COMMIT / 25);
	do {
		gather_begin(&gather, 25, 25, COMMIT, now);
		changes = come(25, &now, COMMIT / 100);
		commits++;
	} while (changes < 50 && commits < 100);
	ck_assert_int_lt(commits, 100);
	for (int i = 0; i < 20; i++) {
		gather_begin(&gather, 50, 0, COMMIT, now);
		changes = come(0, &now, COMMIT / 100);
	}
	ck_assert_uint_eq(changes, 50);
}
END_TEST

START_TEST(who_does_not_come_is_not_waited_for_long)
{
	gather_begin(&gather, 25, 25, COMMIT, 1000);
	ck_assert(gather_waits(&gather, 25, 1000));
	ck_assert(gather_waits(&gather, 25, 1000 + COMMIT / 2 - 1));
	ck_assert(!gather_waits(&gather, 25, 1000 + COMMIT / 2));
}
END_TEST

START_TEST(a_trickle_is_not_waited_for_long)
{
	gather_begin(&gather, 5000, 0, COMMIT, 0);
	for (int64_t now = 0; now < 4 * COMMIT; now += 50)
		ck_assert(gather_waits(&gather, 1 + (size_t)now / 50, now));
	ck_assert(!gather_waits(&gather, 1000, 4 * COMMIT));
}
END_TEST

START_TEST(a_slow_disk_does_not_make_it_longer)
{
	const int64_t slow = 300000;

	gather_begin(&gather, 25, 25, slow, 0);
	ck_assert(gather_waits(&gather, 25, 0));
	ck_assert(!gather_waits(&gather, 25, 1000));
	begin_anew();
	gather_begin(&gather, 25, 25, slow, 0);
	for (int64_t now = 0; now < 5000; now += 900)
		ck_assert(gather_waits(&gather, 25 + (size_t)now / 900, now));
	ck_assert(!gather_waits(&gather, 49, 5000));
}
END_TEST

START_TEST(after_a_wait_in_vain_it_rests)
{
	int commits = 0;

	gather_begin(&gather, 25, 25, COMMIT, 0);
	gather_waits(&gather, 25, 0);
	gather_waits(&gather, 25, COMMIT);
	do {
		gather_begin(&gather, 25, 25, COMMIT, 0);
		commits++;
	} while (!gather_waits(&gather, 25, 0) && commits < 100);
	ck_assert_int_gt(commits, 8);
	ck_assert_int_lt(commits, 100);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("gather");
	TCase *waits = tcase_create("gather");
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
