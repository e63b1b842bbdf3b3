/* The rows of commands: that they are whole, how they are found, and how words become a call. */
#include <check.h>
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "kv/command.h"

static struct slice slice_of(const char *text)
{
	return (struct slice){ text, strlen(text) };
}

START_TEST(a_row_is_whole)
{
	for (const struct command *command = commands; command->name != NULL; command++) {
		const struct arg *arg = command->args;

		ck_assert_uint_eq(command->name_length, strlen(command->name));
		ck_assert_ptr_nonnull(command->help);
		ck_assert((command->run == NULL) == ((command->flags & COMMAND_LOCAL) != 0));
		for (; arg->type != ARG_END; arg++) {
			ck_assert_ptr_nonnull(arg->name);
			ck_assert(arg->type != ARG_KEY || arg == command->args);
			ck_assert(arg->type != ARG_REST || arg[1].type == ARG_END);
		}
	}
}
END_TEST

START_TEST(a_name_is_found_in_any_case)
{
	for (const struct command *command = commands; command->name != NULL; command++) {
		char name[32];

		strcpy(name, command->name);
		for (size_t i = 0; i < command->name_length; i++) {
			ck_assert(isupper((unsigned char)name[i]));
			name[i] = (char)tolower((unsigned char)name[i]);
			ck_assert_ptr_eq(command_find(slice_of(name)), command);
		}
	}
}
END_TEST

START_TEST(what_is_nearly_a_name_is_none)
{
	static const char *const names[] = { "", "G", "GE", "GETT", "GE\x94", "GE\xd4", "GET ",
		"'ET", "QUI", "SE\x34" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		ck_assert_ptr_null(command_find(slice_of(names[i])));
	ck_assert_ptr_null(command_find((struct slice){ "GET\0", 4 }));
}
END_TEST

static struct call call;

static const char *read_words(const char *name, size_t count, const char *first, const char *second)
{
	const struct slice words[] = { slice_of(first), slice_of(second), slice_of("third") };
	const struct call_limits limits = { .max_key = 3, .max_value = 5 };

	return command_read(command_find(slice_of(name)), words, count, &limits, &call);
}

START_TEST(words_become_a_call)
{
	ck_assert_ptr_null(read_words("SET", 2, "key", "value"));
	ck_assert_str_eq(call.command->name, "SET");
	ck_assert_uint_eq(call.key.length, 3);
	ck_assert_mem_eq(call.key.bytes, "key", 3);
	ck_assert_uint_eq(call.arg_count, 1);
	ck_assert_uint_eq(call.args[0].length, 5);
	ck_assert_mem_eq(call.args[0].bytes, "value", 5);
	ck_assert_ptr_null(read_words("GET", 1, "key", ""));
	ck_assert_uint_eq(call.arg_count, 0);
	ck_assert_ptr_null(read_words("QUIT", 0, "", ""));
	ck_assert_ptr_null(read_words("QUIT", 1, "longer than any value", ""));
	ck_assert_uint_eq(call.key.length, 0);
}
END_TEST

static void expect_error(const char *error, const char *expected)
{
	ck_assert_ptr_nonnull(error);
	ck_assert_str_eq(error, expected);
	ck_assert_ptr_null(call.command);
}

START_TEST(words_that_are_no_call)
{
	expect_error(read_words("GET", 0, "", ""), "unknown command");
	expect_error(read_words("GET", 2, "key", "more"), "unknown command");
	expect_error(read_words("SET", 1, "key", ""), "unknown command");
	expect_error(read_words("SET", 3, "key", "value"), "unknown command");
	expect_error(read_words("QUIT", 2, "a", "b"), "unknown command");
	expect_error(read_words("GET", 1, "keys", ""), "key too long");
	expect_error(read_words("SET", 2, "keys", "values"), "key too long");
	expect_error(read_words("SET", 2, "key", "values"), "value too long");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("command");
	TCase *rows = tcase_create("rows");
	SRunner *runner;
	int not_passed;

	tcase_add_test(rows, a_row_is_whole);
	tcase_add_test(rows, a_name_is_found_in_any_case);
	tcase_add_test(rows, what_is_nearly_a_name_is_none);
	tcase_add_test(rows, words_become_a_call);
	tcase_add_test(rows, words_that_are_no_call);
	suite_add_tcase(suite, rows);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	not_passed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return not_passed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
