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
	for (const struct command *command = _i == 0 ? commands : commands_redis;
	     command->name != NULL; command++) {
		const struct arg *arg = command->args;

		ck_assert_uint_eq(command->name_length, strlen(command->name));
		ck_assert_ptr_nonnull(command->help);
		ck_assert((command->run == NULL) == ((command->flags & COMMAND_LOCAL) != 0));
		for (; arg->type != ARG_END; arg++) {
			ck_assert_ptr_nonnull(arg->name);
			ck_assert(arg->type != ARG_REST || arg[1].type == ARG_END);
			ck_assert(!(arg->flags & ARG_MANY) || arg[1].type == ARG_END);
			ck_assert(arg->type != ARG_DURATION || arg->scale > 0);
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

/* A row of Redis takes the place of one of lines, which keep theirs. */
START_TEST(an_index_finds_the_first_row_of_a_name)
{
	static struct command_index index;
	const struct command *row;

	ck_assert_ptr_null(command_index_find(&index, slice_of("get")));
	for (row = commands_redis; row->name != NULL; row++)
		command_index_add(&index, row);
	for (row = commands; row->name != NULL; row++)
		command_index_add(&index, row);
	for (row = commands_redis; row->name != NULL; row++)
		ck_assert_ptr_eq(command_index_find(&index, slice_of(row->name)), row);
	ck_assert_ptr_eq(
	    command_index_find(&index, slice_of("gEt")), command_find(slice_of("GET")));
	ck_assert_ptr_ne(
	    command_index_find(&index, slice_of("set")), command_find(slice_of("SET")));
	ck_assert_ptr_null(command_index_find(&index, slice_of("GETS")));
	ck_assert_ptr_null(command_index_find(&index, slice_of("")));
	ck_assert_ptr_null(command_index_find(&index, (struct slice){ "GET\0", 4 }));
	ck_assert_ptr_null(command_index_find(
	    &index, slice_of("GETGETGETGETGETGETGETGETGETGETGETGETGETGETGETGET")));
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

static enum kv_status read_words(const char *name, const char *line)
{
	static struct slice words[16];
	const struct call_limits limits = { .max_key = 3, .max_value = 5 };
	size_t count = 0;

	for (const char *word = line; *word != '\0'; word += strspn(word, " ")) {
		words[count++] = (struct slice){ word, strcspn(word, " ") };
		word += words[count - 1].length;
	}
	call = (struct call){ .arg_count = 99 };
	return command_read(command_find(slice_of(name)), words, count, &limits, &call);
}

static void expect_slice(struct slice slice, const char *text)
{
	ck_assert_uint_eq(slice.length, strlen(text));
	ck_assert_mem_eq(slice.bytes, text, slice.length);
}

START_TEST(words_become_a_call)
{
	ck_assert_int_eq(read_words("SET", "key value"), KV_OK);
	ck_assert_str_eq(call.command->name, "SET");
	ck_assert_int_eq(call.status, KV_OK);
	ck_assert_uint_eq(call.key.length, 3);
	ck_assert_mem_eq(call.key.bytes, "key", 3);
	ck_assert_uint_eq(call.arg_count, 1);
	expect_slice(call.args[0], "value");
	ck_assert_int_eq(read_words("GET", "key"), KV_OK);
	ck_assert_uint_eq(call.arg_count, 0);
	ck_assert_int_eq(read_words("QUIT", ""), KV_OK);
	ck_assert_int_eq(read_words("QUIT", "longer-than-any-value"), KV_OK);
	ck_assert_uint_eq(call.key.length, 0);
}
END_TEST

START_TEST(numbers_are_typed)
{
	ck_assert_int_eq(read_words("SETEX", "key 60 v"), KV_OK);
	ck_assert_int_eq(call.numbers[0], 60000);
	expect_slice(call.args[1], "v");
	ck_assert_int_eq(read_words("PEXPIRE", "key -60"), KV_OK);
	ck_assert_int_eq(call.numbers[0], -60);
	ck_assert_int_eq(read_words("INCRBY", "key 9223372036854775807"), KV_OK);
	ck_assert_int_eq(call.numbers[0], INT64_MAX);
	ck_assert_int_eq(read_words("EXPIRE", "key x"), KV_NOT_A_NUMBER);
	ck_assert_int_eq(read_words("INCRBY", "key 9223372036854775808"), KV_OUT_OF_RANGE);
	ck_assert_int_eq(read_words("EXPIRE", "key 9223372036854775"), KV_OK);
	ck_assert_int_eq(read_words("EXPIRE", "key 9223372036854776"), KV_INVALID_EXPIRE);
	ck_assert_int_eq(read_words("EXPIREAT", "key -9223372036854776"), KV_INVALID_EXPIRE);
}
END_TEST

START_TEST(a_number_is_written_as_redis_does)
{
	static const char *const wrong[] = { "", "-", "+1", "01", "-0", "00", "1 ", " 1", "1.0",
		"0x1", "1e3", "--1", "9223372036854775808x" };
	int64_t number;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
		ck_assert_int_eq(command_number(slice_of(wrong[i]), &number), KV_NOT_A_NUMBER);
	ck_assert_int_eq(command_number(slice_of("0"), &number), KV_OK);
	ck_assert_int_eq(number, 0);
	ck_assert_int_eq(command_number(slice_of("-9223372036854775808"), &number), KV_OK);
	ck_assert_int_eq(number, INT64_MIN);
	ck_assert_int_eq(
	    command_number(slice_of("-9223372036854775809"), &number), KV_OUT_OF_RANGE);
	ck_assert_int_eq(
	    command_number(slice_of("99999999999999999999999"), &number), KV_OUT_OF_RANGE);
	ck_assert_int_eq(/* ten times 2^64: the last step does not overflow */
	    command_number(slice_of("184467440737095516160"), &number), KV_OUT_OF_RANGE);
}
END_TEST

START_TEST(many_words_are_not_copied)
{
	ck_assert_int_eq(read_words("MGET", "a b c"), KV_OK);
	ck_assert_mem_eq(call.key.bytes, "a", 1);
	ck_assert_uint_eq(call.arg_count, 0);
	ck_assert_uint_eq(call.more_count, 2);
	expect_slice(call.more[0], "b");
	expect_slice(call.more[1], "c");
	ck_assert_int_eq(read_words("MGET", "a"), KV_OK);
	ck_assert_uint_eq(call.more_count, 0);
	ck_assert_int_eq(read_words("SCAN", "0 MATCH a* COUNT 5"), KV_OK);
	expect_slice(call.args[0], "0");
	ck_assert_uint_eq(call.more_count, 4);
	expect_slice(call.more[3], "5");
	ck_assert_int_eq(read_words("SCAN", "0"), KV_OK);
	ck_assert_uint_eq(call.more_count, 0);
	ck_assert_int_eq(read_words("MGET", "a b long"), KV_KEY_TOO_LONG);
	ck_assert_int_eq(read_words("MGET", ""), KV_WRONG_ARGUMENTS);
	ck_assert_int_eq(read_words("SCAN", ""), KV_WRONG_ARGUMENTS);
}
END_TEST

START_TEST(words_that_are_no_call)
{
	ck_assert_int_eq(read_words("GET", ""), KV_WRONG_ARGUMENTS);
	ck_assert_int_eq(read_words("GET", "key more"), KV_WRONG_ARGUMENTS);
	ck_assert_int_eq(read_words("GET", "long-key more"), KV_WRONG_ARGUMENTS);
	ck_assert_int_eq(read_words("SET", "key"), KV_WRONG_ARGUMENTS);
	ck_assert_int_eq(read_words("SET", "key value more"), KV_WRONG_ARGUMENTS);
	ck_assert_int_eq(read_words("QUIT", "a b"), KV_WRONG_ARGUMENTS);
	ck_assert_int_eq(read_words("SETEX", "key x"), KV_WRONG_ARGUMENTS);
	ck_assert_int_eq(read_words("GET", "keys"), KV_KEY_TOO_LONG);
	ck_assert_int_eq(call.status, KV_KEY_TOO_LONG);
	ck_assert_int_eq(read_words("SET", "keys values"), KV_KEY_TOO_LONG);
	ck_assert_int_eq(read_words("RENAME", "key keys"), KV_KEY_TOO_LONG);
	ck_assert_int_eq(read_words("SET", "key values"), KV_VALUE_TOO_LONG);
}
END_TEST

START_TEST(usage_names_all_arguments)
{
	char usage[USAGE_MAX];

	command_usage(command_find(slice_of("TTL")), usage);
	ck_assert_str_eq(usage, "TTL key");
	command_usage(command_find(slice_of("MGET")), usage);
	ck_assert_str_eq(usage, "MGET key...");
	command_usage(command_find(slice_of("KEYS")), usage);
	ck_assert_str_eq(usage, "KEYS [pattern]");
	for (const struct command *command = commands; command->name != NULL; command++)
		ck_assert_uint_lt(command_usage(command, usage), USAGE_MAX - 1);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("command");
	TCase *rows = tcase_create("rows");
	SRunner *runner;
	int not_passed;

	tcase_add_loop_test(rows, a_row_is_whole, 0, 2);
	tcase_add_test(rows, an_index_finds_the_first_row_of_a_name);
	tcase_add_test(rows, a_name_is_found_in_any_case);
	tcase_add_test(rows, what_is_nearly_a_name_is_none);
	tcase_add_test(rows, words_become_a_call);
	tcase_add_test(rows, numbers_are_typed);
	tcase_add_test(rows, a_number_is_written_as_redis_does);
	tcase_add_test(rows, many_words_are_not_copied);
	tcase_add_test(rows, words_that_are_no_call);
	tcase_add_test(rows, usage_names_all_arguments);
	suite_add_tcase(suite, rows);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	not_passed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return not_passed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
