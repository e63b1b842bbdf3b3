/* The probes of a ping: what is under way, what came late or twice, and the figures. */
#include <check.h>
#include <stdlib.h>
#include <string.h>

#include "echoctl/probes.h"

#define MS 1000 /* microseconds */

static struct probes probes;
static double ms;

static void setup(void)
{
	memset(&probes, 0, sizeof(probes));
	ms = -1;
}

START_TEST(test_nothing_sent)
{
	ck_assert_ptr_null(probes_oldest(&probes));
	ck_assert(!probes_full(&probes));
	ck_assert_double_eq(probes_loss(&probes), 0);
	ck_assert_double_eq(probes_mean(&probes), 0);
	ck_assert_double_eq(probes_deviation(&probes), 0);
	ck_assert_int_eq(probes_receive(&probes, 0, 0, &ms), PROBE_UNKNOWN);
	ck_assert_int_eq(probes_receive(&probes, 1, 0, &ms), PROBE_UNKNOWN);
}
END_TEST

START_TEST(test_figures)
{
	static const int64_t times[] = { 2, 4, 4, 4, 5, 5, 7, 9 }; /* mean 5, deviation 2 */

	for (size_t i = 0; i < sizeof(times) / sizeof(times[0]); i++) {
		unsigned sequence = probes_send(&probes, 100 * MS);

		ck_assert_uint_eq(sequence, i + 1);
		ck_assert_int_eq(
		    probes_receive(&probes, sequence, (100 + times[i]) * MS, &ms), PROBE_IN_TIME);
		ck_assert_double_eq_tol(ms, (double)times[i], 1e-9);
	}
	ck_assert_double_eq_tol(probes.min, 2, 1e-9);
	ck_assert_double_eq_tol(probes.max, 9, 1e-9);
	ck_assert_double_eq_tol(probes_mean(&probes), 5, 1e-9);
	ck_assert_double_eq_tol(probes_deviation(&probes), 2, 1e-9);
	ck_assert_double_eq(probes_loss(&probes), 0);
}
END_TEST

START_TEST(test_equal_times_deviate_by_nothing)
{
	for (int i = 0; i < 1000; i++)
		probes_receive(&probes, probes_send(&probes, 0), 123, &ms);
	ck_assert_double_eq_tol(probes_deviation(&probes), 0, 1e-6);
}
END_TEST

START_TEST(test_answers_out_of_order)
{
	for (int i = 0; i < 3; i++)
		probes_send(&probes, i * MS);
	ck_assert_int_eq(probes_receive(&probes, 2, 9 * MS, &ms), PROBE_IN_TIME);
	ck_assert_uint_eq(probes_oldest(&probes)->sequence, 1);
	ck_assert_int_eq(probes_receive(&probes, 1, 9 * MS, &ms), PROBE_IN_TIME);
	ck_assert_uint_eq(probes_oldest(&probes)->sequence, 3);
	ck_assert_int_eq(probes_oldest(&probes)->sent_at, 2 * MS);
	ck_assert_int_eq(probes_receive(&probes, 3, 9 * MS, &ms), PROBE_IN_TIME);
	ck_assert_ptr_null(probes_oldest(&probes));
}
END_TEST

START_TEST(test_a_second_answer_is_a_duplicate)
{
	probes_send(&probes, 0);
	ck_assert_int_eq(probes_receive(&probes, 1, MS, &ms), PROBE_IN_TIME);
	ck_assert_int_eq(probes_receive(&probes, 1, 3 * MS, &ms), PROBE_DUPLICATE);
	ck_assert_double_eq_tol(ms, 3, 1e-9);
	ck_assert_uint_eq(probes.received, 1);
	ck_assert_uint_eq(probes.duplicates, 1);
	ck_assert_double_eq_tol(probes.max, 1, 1e-9);
}
END_TEST

START_TEST(test_an_answer_after_it_was_given_up_is_late)
{
	probes_send(&probes, 0);
	probes_send(&probes, 0);
	ck_assert_uint_eq(probes_give_up(&probes), 1);
	ck_assert_uint_eq(probes_oldest(&probes)->sequence, 2);
	ck_assert_int_eq(probes_receive(&probes, 1, 7 * MS, &ms), PROBE_LATE);
	ck_assert_double_eq_tol(ms, 7, 1e-9);
	ck_assert_int_eq(probes_receive(&probes, 1, 8 * MS, &ms), PROBE_DUPLICATE);
	ck_assert_int_eq(probes_receive(&probes, 2, 9 * MS, &ms), PROBE_IN_TIME);
	ck_assert_uint_eq(probes.late, 1);
	ck_assert_uint_eq(probes.received, 1);
	ck_assert_double_eq_tol(probes_loss(&probes), 50, 1e-9);
	ck_assert_double_eq_tol(probes_mean(&probes), 9, 1e-9);
}
END_TEST

START_TEST(test_the_window_is_full_until_the_oldest_is_settled)
{
	for (int i = 0; i < PROBES_WINDOW; i++) {
		ck_assert(!probes_full(&probes));
		probes_send(&probes, i);
	}
	ck_assert(probes_full(&probes));
	probes_receive(&probes, 2, PROBES_WINDOW, &ms);
	ck_assert(probes_full(&probes));
	ck_assert_uint_eq(probes_give_up(&probes), 1);
	ck_assert(!probes_full(&probes));
	ck_assert_uint_eq(probes_oldest(&probes)->sequence, 3);
}
END_TEST

START_TEST(test_what_left_the_window_is_unknown)
{
	for (int i = 0; i <= PROBES_WINDOW; i++)
		probes_receive(&probes, probes_send(&probes, 0), MS, &ms);
	ck_assert_int_eq(probes_receive(&probes, 1, MS, &ms), PROBE_UNKNOWN);
	ck_assert_int_eq(probes_receive(&probes, 2, MS, &ms), PROBE_DUPLICATE);
	ck_assert_int_eq(probes_receive(&probes, PROBES_WINDOW + 2, MS, &ms), PROBE_UNKNOWN);
	ck_assert_uint_eq(probes.received, PROBES_WINDOW + 1);
	ck_assert_ptr_null(probes_oldest(&probes));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("probes");
	TCase *tcase = tcase_create("probes");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_add_test(tcase, test_nothing_sent);
	tcase_add_test(tcase, test_figures);
	tcase_add_test(tcase, test_equal_times_deviate_by_nothing);
	tcase_add_test(tcase, test_answers_out_of_order);
	tcase_add_test(tcase, test_a_second_answer_is_a_duplicate);
	tcase_add_test(tcase, test_an_answer_after_it_was_given_up_is_late);
	tcase_add_test(tcase, test_the_window_is_full_until_the_oldest_is_settled);
	tcase_add_test(tcase, test_what_left_the_window_is_unknown);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
