/*
 * The wheel: every entry is checked, none before its time, also those that lie behind the wheel's horizon,
 * that are filed again from their check, or that are cancelled.
 */
#include <check.h>
#include <event2/event.h>
#include <stdlib.h>

#include "core/clock.h"
#include "net/deadline.h"

#define ENTRIES 500

static struct event_base *base;
static struct deadlines *deadlines;

static struct owner {
	struct deadline deadline; /* first: a check gets from it to its owner */
	int64_t due, checked;
	int again; /* how often to file it again, 10 ms later each time */
} owners[ENTRIES];

static void note(struct deadline *deadline, int64_t now)
{
	struct owner *owner = (struct owner *)deadline;

	if (now < owner->due) { /* a check may come early, by the wheel's horizon */
		deadline_set(deadlines, deadline, owner->due, now);
		return;
	}
	ck_assert_int_eq(owner->checked, 0);
	if (owner->again > 0) {
		owner->again--;
		owner->due = now + 10;
		deadline_set(deadlines, deadline, owner->due, now);
		return;
	}
	owner->checked = now;
}

static void setup(void)
{
	base = event_base_new();
	deadlines = deadlines_new(base, note);
}

static void teardown(void)
{
	deadlines_free(deadlines);
	event_base_free(base);
}

static void file(struct owner *owner, int64_t wait)
{
	int64_t now = clock_ms();

	*owner = (struct owner){ .due = now + wait };
	deadline_set(deadlines, &owner->deadline, owner->due, now);
}

/* The loop ends by itself: no deadline is left, so nothing is pending. */
START_TEST(all_are_checked_in_time)
{
	srand(1);
	for (int i = 0; i < ENTRIES; i++)
		file(&owners[i], rand() % 700);
	event_base_dispatch(base);
	for (int i = 0; i < ENTRIES; i++)
		ck_assert_int_ge(owners[i].checked, owners[i].due);
}
END_TEST

START_TEST(one_may_be_filed_again_from_its_check)
{
	file(&owners[0], 1);
	owners[0].again = 3;
	event_base_dispatch(base);
	ck_assert_int_eq(owners[0].again, 0);
	ck_assert_int_ge(owners[0].checked, owners[0].due);
}
END_TEST

START_TEST(a_cancelled_one_is_not_checked)
{
	file(&owners[0], 50);
	file(&owners[1], 50);
	deadline_cancel(deadlines, &owners[0].deadline);
	deadline_cancel(deadlines, &owners[0].deadline);
	event_base_dispatch(base);
	ck_assert_int_eq(owners[0].checked, 0);
	ck_assert_int_ge(owners[1].checked, owners[1].due);
}
END_TEST

START_TEST(an_earlier_time_takes_the_place_of_a_later_one)
{
	struct timeval enough = { .tv_sec = 2 };
	int64_t now = clock_ms();

	file(&owners[0], 3600 * 1000);
	owners[0].due = now + 20;
	deadline_set(deadlines, &owners[0].deadline, owners[0].due, now);
	deadline_set(deadlines, &owners[0].deadline, now + 1000, now); /* a later one does not */
	event_base_loopexit(base, &enough);
	event_base_dispatch(base);
	ck_assert_int_ge(owners[0].checked, owners[0].due);
	ck_assert_int_lt(owners[0].checked, now + 1000);
}
END_TEST

START_TEST(a_far_one_keeps_the_loop_asleep)
{
	struct timeval soon = { .tv_usec = 200000 };
	int64_t before;

	file(&owners[0], 3600 * 1000);
	event_base_loopexit(base, &soon);
	before = clock_ms();
	event_base_dispatch(base);
	ck_assert_int_ge(clock_ms() - before, 190);
	ck_assert_int_eq(owners[0].checked, 0);
	deadline_cancel(deadlines, &owners[0].deadline);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("deadline");
	TCase *wheel = tcase_create("wheel");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(wheel, setup, teardown);
	tcase_add_test(wheel, all_are_checked_in_time);
	tcase_add_test(wheel, one_may_be_filed_again_from_its_check);
	tcase_add_test(wheel, a_cancelled_one_is_not_checked);
	tcase_add_test(wheel, an_earlier_time_takes_the_place_of_a_later_one);
	tcase_add_test(wheel, a_far_one_keeps_the_loop_asleep);
	suite_add_tcase(suite, wheel);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
