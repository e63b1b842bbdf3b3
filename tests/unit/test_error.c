/* Errors: what each function leaves in the text, the code, the key and errno. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"

static struct error error;

static void setup(void)
{
	memset(&error, 'x', sizeof(error));
	errno = EINTR;
}

static void expect(const char *text, int code, const char *key, int error_number)
{
	int saved = errno;

	ck_assert_str_eq(error.text, text);
	ck_assert_int_eq(error.code, code);
	ck_assert_pstr_eq(error.key, key);
	ck_assert_int_eq(saved, error_number);
}

START_TEST(without_a_code)
{
	ck_assert_int_eq(error_set(&error, "expected %d, got %s", 5, "six"), -1);
	expect("expected 5, got six", 0, NULL, EINTR);
}
END_TEST

START_TEST(with_a_code)
{
	ck_assert_int_eq(error_code(&error, ENOENT, "there is no user %s", "nobody"), -1);
	expect("there is no user nobody", ENOENT, NULL, ENOENT);
}
END_TEST

START_TEST(of_errno)
{
	errno = EACCES;
	ck_assert_int_eq(error_errno(&error, "cannot open %s", "/a"), -1);
	expect("cannot open /a: Permission denied", EACCES, NULL, EACCES);
}
END_TEST

START_TEST(of_a_key)
{
	ck_assert_int_eq(
	    error_key(&error, "path", "expected an absolute path, got \"%s\"", ""), -1);
	expect("expected an absolute path, got \"\"", 0, "path", EINTR);
}
END_TEST

START_TEST(of_memory)
{
	ck_assert_int_eq(error_memory(&error), -1);
	expect("out of memory", ENOMEM, NULL, ENOMEM);
}
END_TEST

START_TEST(a_prefix_keeps_the_rest)
{
	error_key(&error, "listen", "no such interface");
	ck_assert_int_eq(error_prefix(&error, "\"%s\": ", "tcp://a%b"), -1);
	expect("\"tcp://a%b\": no such interface", 0, "listen", EINTR);
	errno = EIO;
	error_errno(&error, "read");
	errno = EINTR;
	error_prefix(&error, "%s: ", "/a");
	expect("/a: read: Input/output error", EIO, NULL, EINTR);
}
END_TEST

START_TEST(its_own_text_may_be_an_argument)
{
	error_set(&error, "expected a, got b");
	error_set(&error, "%s; did you mean \"%s\"?", error.text, "a");
	expect("expected a, got b; did you mean \"a\"?", 0, NULL, EINTR);
}
END_TEST

/* What is too long is cut and terminated, at any place where two parts meet. */
START_TEST(long_texts_are_cut)
{
	char text[2 * ERROR_TEXT_MAX];
	size_t length = (size_t)(ERROR_TEXT_MAX - 4 + _i);

	memset(text, 'a', sizeof(text));
	text[length] = '\0';
	errno = EPERM;
	error_errno(&error, "%s", text);
	ck_assert_uint_eq(strlen(error.text), ERROR_TEXT_MAX - 1);
	error_set(&error, "rest");
	error_prefix(&error, "%s", text);
	ck_assert_uint_eq(
	    strlen(error.text), length + 4 < ERROR_TEXT_MAX ? length + 4 : ERROR_TEXT_MAX - 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("error");
	TCase *tc = tcase_create("error");
	SRunner *sr = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(tc, setup, NULL);
	tcase_add_test(tc, without_a_code);
	tcase_add_test(tc, with_a_code);
	tcase_add_test(tc, of_errno);
	tcase_add_test(tc, of_a_key);
	tcase_add_test(tc, of_memory);
	tcase_add_test(tc, a_prefix_keeps_the_rest);
	tcase_add_test(tc, its_own_text_may_be_an_argument);
	tcase_add_loop_test(tc, long_texts_are_cut, 0, 8);
	suite_add_tcase(s, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
