/* Rows and types: what each takes, what it says to the rest, how it prints. */
#include <check.h>
#include <errno.h>
#include <libconfig.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "core/option.h"
#include "core/suggest.h"

struct toy {
	bool flag;
	int64_t number, any, reply_rate, wait, pause, size, cap;
	mode_t mode;
	int pick;
	char *text, *maybe;
	struct strings list;
};

static const char *const picks[] = { "stream", "line", "once", NULL };

static const struct option_row rows[] = {
	OPTION_DEFAULT(struct toy, flag, bool, true),
	OPTION_DEFAULT(struct toy, number, integer, 7, .min = 1, .max = 65535, .help = "A number."),
	OPTION(struct toy, any, integer),
	OPTION(struct toy, reply_rate, integer, .max = 9, .unit = "replies per second"),
	OPTION_DEFAULT(struct toy, wait, duration, 1500, .min = 100, .max = 3600000),
	OPTION(struct toy, pause, duration),
	OPTION_DEFAULT(struct toy, size, size, 64 << 10, .min = 1, .max = 1 << 20),
	OPTION(struct toy, cap, size, .min = 1024, .max = INT64_MAX),
	OPTION_DEFAULT(struct toy, mode, mode, 0660, .flags = OPTION_RESTART),
	OPTION_DEFAULT(struct toy, pick, choice, 1, .choices = picks),
	OPTION(struct toy, text, string, .flags = OPTION_REQUIRED),
	OPTION(struct toy, maybe, string, .flags = OPTION_EMPTY),
	OPTION(struct toy, list, strings),
	OPTION_END,
};

static struct option_section section;
static struct toy *toy;
static struct error error;

static void setup(void)
{
	ck_assert_int_eq(option_section_init(&section, rows, sizeof(struct toy)), 0);
	toy = section.fields;
}

static void teardown(void)
{
	option_section_clear(&section);
	ck_assert_ptr_null(section.fields);
}

/* Sets `key = VALUE;` as a file would. */
static int set(const char *key, const char *value)
{
	static const struct option_origin origin = { "toy.conf", 3 };
	char source[256];
	config_t tree;
	int result;

	snprintf(source, sizeof(source), "%s = %s;", key, value);
	config_init(&tree);
	ck_assert_msg(config_read_string(&tree, source) == CONFIG_TRUE, "%s", source);
	memset(&error, 0, sizeof(error));
	result = option_set(
	    &section, option_find(rows, key), config_lookup(&tree, key), &origin, &error);
	config_destroy(&tree);
	return result;
}

static void takes(const char *key, const char *value, const char *printed)
{
	char *text;

	ck_assert_msg(set(key, value) == 0, "%s = %s: %s", key, value, error.text);
	text = option_format(&section, option_find(rows, key));
	ck_assert_str_eq(text, printed);
	free(text);
}

static void refuses(const char *key, const char *value, const char *expected)
{
	ck_assert_int_eq(set(key, value), -1);
	ck_assert_str_eq(error.text, expected);
}

START_TEST(test_defaults)
{
	ck_assert(toy->flag);
	ck_assert_int_eq(toy->number, 7);
	ck_assert_int_eq(toy->wait, 1500);
	ck_assert_int_eq(toy->size, 65536);
	ck_assert_int_eq(toy->mode, 0660);
	ck_assert_int_eq(toy->pick, 1);
	ck_assert_ptr_null(toy->text);
	ck_assert_ptr_null(option_origin(&section, &rows[0])->file);
	ck_assert(option_is_set(&section, option_find(rows, "number")));
	ck_assert(!option_is_set(&section, option_find(rows, "any")));
}
END_TEST

START_TEST(test_numbers)
{
	takes("number", "65535", "65535");
	takes("number", "12L", "12");
	takes("number", "0x10", "16");
	takes("any", "-9223372036854775807L", "-9223372036854775807L");
	takes("any", "3000000000L", "3000000000L");
	refuses("number", "\"abc\"", "expected an integer from 1 to 65535, got \"abc\"");
	refuses("number", "0", "expected an integer from 1 to 65535, got 0");
	refuses("number", "65536", "expected an integer from 1 to 65535, got 65536");
	refuses("number", "4294967297L", "expected an integer from 1 to 65535, got 4294967297");
	refuses("number", "1.5", "expected an integer from 1 to 65535, got 1.5");
	refuses("number", "true", "expected an integer from 1 to 65535, got true");
	refuses("any", "{ }", "expected an integer, got a group");
	refuses("any", "[ 1 ]", "expected an integer, got an array");
	refuses("any", "( 1 )", "expected an integer, got a list");
	refuses("reply_rate", "10", "expected an integer from 0 to 9 replies per second, got 10");
	ck_assert_int_eq(toy->number, 16);
}
END_TEST

START_TEST(test_durations)
{
	takes("wait", "30", "30");
	ck_assert_int_eq(toy->wait, 30000);
	takes("wait", "\"500ms\"", "\"500ms\"");
	takes("wait", "\"2000ms\"", "2");
	takes("wait", "\"5m\"", "300");
	takes("wait", "\"1h\"", "3600");
	takes("pause", "\"2d\"", "172800");
	takes("pause", "0", "0");
	takes("pause", "3000000000L", "3000000000L");
	refuses("wait", "3601", "expected a duration from 100 ms to 3600 s, got 3601");
	refuses("wait", "\"99ms\"", "expected a duration from 100 ms to 3600 s, got \"99ms\"");
	refuses("wait", "1.5",
	    "expected a duration in seconds or such as \"500ms\", \"30s\", \"5m\", got 1.5");
	refuses("pause", "-1",
	    "expected a duration in seconds or such as \"500ms\", \"30s\", \"5m\", got -1");
	refuses("pause", "\"30\"",
	    "expected a duration in seconds or such as \"500ms\", \"30s\", \"5m\", got \"30\"");
	refuses("pause", "\"-5s\"",
	    "expected a duration in seconds or such as \"500ms\", \"30s\", \"5m\", got \"-5s\"");
	refuses("pause", "\"5 s\"",
	    "expected a duration in seconds or such as \"500ms\", \"30s\", \"5m\", got \"5 s\"");
	refuses("wait", "\"99999999999999999999d\"",
	    "expected a duration from 100 ms to 3600 s, got \"99999999999999999999d\"");
	refuses("wait", "9223372036854775807L",
	    "expected a duration from 100 ms to 3600 s, got 9223372036854775807");
}
END_TEST

START_TEST(test_durations_too_long)
{
	refuses("pause", "9223372036854775807L",
	    "expected a duration in seconds or such as \"500ms\", \"30s\", \"5m\", "
	    "got 9223372036854775807");
	refuses(
	    "cap", "\"9999999999T\"", "expected a size of at least 1K bytes, got \"9999999999T\"");
}
END_TEST

START_TEST(test_sizes)
{
	takes("size", "1000", "1000");
	takes("size", "\"1K\"", "\"1K\"");
	takes("size", "65536", "\"64K\"");
	takes("size", "\"1M\"", "\"1M\"");
	takes("cap", "\"3G\"", "\"3G\"");
	ck_assert_int_eq(toy->cap, INT64_C(3) << 30);
	takes("cap", "5000000001L", "5000000001L");
	refuses("size", "0", "expected a size from 1 to 1M bytes, got 0");
	refuses("size", "\"1G\"", "expected a size from 1 to 1M bytes, got \"1G\"");
	refuses("cap", "12", "expected a size of at least 1K bytes, got 12");
	refuses("size", "\"64KB\"",
	    "expected a size in bytes or such as \"64K\", \"1M\", \"1G\", got \"64KB\"");
}
END_TEST

START_TEST(test_words)
{
	takes("flag", "FALSE", "false");
	takes("mode", "\"600\"", "\"0600\"");
	takes("pick", "\"once\"", "\"once\"");
	refuses("flag", "0", "expected true or false, got 0");
	refuses("flag", "\"yes\"", "expected true or false, got \"yes\"");
	refuses("mode", "660",
	    "expected a mode in octal and in double quotes, such as \"0660\", got 660");
	refuses("mode", "\"0680\"",
	    "expected a mode in octal and in double quotes, such as \"0660\", got \"0680\"");
	refuses("pick", "\"onec\"",
	    "expected \"stream\", \"line\" or \"once\", got \"onec\"; did you mean \"once\"?");
	refuses("pick", "\"zzzzzz\"", "expected \"stream\", \"line\" or \"once\", got \"zzzzzz\"");
	refuses("pick", "1", "expected \"stream\", \"line\" or \"once\", got 1");
}
END_TEST

START_TEST(test_strings)
{
	takes("text", "\"a\\\"b\\\\c\\n\\x01\"", "\"a\\\"b\\\\c\\x0a\\x01\"");
	takes("maybe", "\"\"", "\"\"");
	takes("list", "\"a\"", "[ \"a\" ]");
	takes("list", "[ \"a\", \"b\", \"c\" ]", "[ \"a\", \"b\", \"c\" ]");
	takes("list", "( \"a\", \"b\" )", "[ \"a\", \"b\" ]");
	takes("list", "[ ]", "[ ]");
	refuses("text", "\"\"", "expected a string that is not empty, got \"\"");
	refuses("text", "5", "expected a string, got 5");
	refuses("text", "[ \"a\" ]", "expected a string, got an array");
	refuses("list", "5", "expected a string or an array of strings, got 5");
	refuses("list", "( \"a\", 5 )", "expected an array with each item a string, got 5");
	refuses("list", "[ \"\" ]",
	    "expected an array with each item a string that is not empty, got \"\"");
	refuses("text", "{ }", "expected a string, got a group");
}
END_TEST

START_TEST(test_foreign_bytes_are_escaped)
{
	refuses("number", "\"\\n\\x1b\"", "expected an integer from 1 to 65535, got \"\\n\\x1b\"");
}
END_TEST

START_TEST(test_origin_and_failure)
{
	const struct option_row *row = option_find(rows, "text");

	ck_assert_int_eq(set("text", "\"kept\""), 0);
	ck_assert_str_eq(option_origin(&section, row)->file, "toy.conf");
	ck_assert_int_eq(option_origin(&section, row)->line, 3);
	ck_assert_int_eq(set("text", "5"), -1);
	ck_assert_str_eq(toy->text, "kept");
	ck_assert_ptr_null(option_find(rows, "nothing"));
}
END_TEST

START_TEST(test_equal_and_copy)
{
	struct option_section other = { 0 };
	const struct option_row *row = option_find(rows, "list");

	ck_assert_int_eq(option_section_init(&other, rows, sizeof(struct toy)), 0);
	ck_assert(option_equal(&section, &other, row));
	ck_assert_int_eq(set("list", "[ \"x\\\"\", \"y\" ]"), 0);
	ck_assert(!option_equal(&section, &other, row));
	ck_assert_int_eq(option_copy(&other, &section, row), 0);
	ck_assert(option_equal(&section, &other, row));
	ck_assert_str_eq(option_origin(&other, row)->file, "toy.conf");
	/* What is not set is copied as such. */
	ck_assert_int_eq(option_set_text(&other, option_find(rows, "text"), "\"t\"",
			     &(struct option_origin){ "f", 1 }),
	    0);
	ck_assert_int_eq(option_copy(&other, &section, option_find(rows, "text")), 0);
	ck_assert(!option_is_set(&other, option_find(rows, "text")));
	option_section_clear(&other);
}
END_TEST

START_TEST(test_equal_by_type)
{
	static const struct {
		const char *key, *value, *other;
	} cases[] = {
		{ "flag", "false", "true" },
		{ "number", "5", "6" },
		{ "wait", "\"2s\"", "3" },
		{ "size", "1024", "\"2K\"" },
		{ "mode", "\"0600\"", "\"0640\"" },
		{ "pick", "\"once\"", "\"line\"" },
		{ "text", "\"a\"", "\"b\"" },
		{ "maybe", "\"\"", "\"b\"" },
		{ "list", "[ \"a\", \"b\" ]", "[ \"a\", \"c\" ]" },
		{ "list", "[ \"a\", \"b\" ]", "\"a\"" },
	};
	struct option_section other;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const struct option_row *row = option_find(rows, cases[i].key);

		ck_assert_int_eq(option_section_init(&other, rows, sizeof(struct toy)), 0);
		ck_assert_int_eq(set(row->key, cases[i].value), 0);
		ck_assert_msg(!option_equal(&section, &other, row), "%s", row->key);
		ck_assert_int_eq(option_copy(&other, &section, row), 0);
		ck_assert_msg(option_equal(&section, &other, row), "%s", row->key);
		ck_assert_int_eq(set(row->key, cases[i].other), 0);
		ck_assert_msg(!option_equal(&section, &other, row), "%s", row->key);
		option_section_clear(&other);
	}
}
END_TEST

/* What is printed can be read, and is printed the same then. */
START_TEST(test_print_round_trip)
{
	ck_assert_int_eq(set("text", "\"\\\\ \\\" \\t # // /* \\x7f \xc3\xa9\""), 0);
	ck_assert_int_eq(set("list", "[ \"a b\", \"\\\\\" ]"), 0);
	ck_assert_int_eq(set("any", "-5"), 0);
	for (const struct option_row *row = rows; row->key != NULL; row++) {
		char *once, *twice;

		if (!option_is_set(&section, row))
			continue;
		once = option_format(&section, row);
		ck_assert_int_eq(set(row->key, once), 0);
		twice = option_format(&section, row);
		ck_assert_str_eq(once, twice);
		free(once);
		free(twice);
	}
}
END_TEST

static void explains(const char *key, const char *expected)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	option_explain(option_find(rows, key), key, out);
	fclose(out);
	ck_assert_str_eq(text, expected);
	free(text);
}

START_TEST(test_explain)
{
	explains("number", "number: an integer from 1 to 65535; default 7\n    A number.\n");
	explains("pick", "pick: \"stream\", \"line\" or \"once\"; default \"line\"\n");
	explains("text", "text: string; must be given\n");
	explains("maybe", "maybe: string; not set by default\n");
	explains("mode",
	    "mode: mode in octal, as a string; default \"0660\"\n    A change needs a restart.\n");
}
END_TEST

START_TEST(test_suggest)
{
	static const char *const names[] = { "listen", "max_connections", "max_per_source", "kv",
		"echo", "time", NULL };

	ck_assert_str_eq(suggest_name("lisen", names), "listen");
	ck_assert_str_eq(suggest_name("litsen", names), "listen");
	ck_assert_str_eq(suggest_name("Listen", names), "listen");
	ck_assert_str_eq(suggest_name("max_conections", names), "max_connections");
	ck_assert_str_eq(suggest_name("maxconnection", names), "max_connections");
	ck_assert_str_eq(suggest_name("ehco", names), "echo");
	ck_assert_ptr_null(suggest_name("qwertz", names));
	ck_assert_ptr_null(suggest_name("x", names));
	ck_assert_ptr_null(suggest_name("", names));
	ck_assert_ptr_null(suggest_name("file", names));
}
END_TEST

START_TEST(test_strings_list)
{
	struct strings strings = { 0 };
	const char *first;

	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(strings_addf(&strings, "text %d", i), 0);
	first = strings.items[0];
	ck_assert_uint_eq(strings.count, 100);
	ck_assert_str_eq(strings.items[99], "text 99");
	ck_assert_ptr_eq(strings_find(&strings, "text 0"), first);
	ck_assert_int_eq(strings_adopt(&strings, strdup("new")), 0);
	ck_assert_str_eq(strings.items[100], "new");
	ck_assert(!strings.lost);
	ck_assert_int_eq(strings_adopt(&strings, NULL), -1);
	ck_assert(strings.lost);
	ck_assert_uint_eq(strings.count, 101);
	ck_assert_ptr_null(strings_find(&strings, "none"));
	strings_clear(&strings);
	ck_assert_uint_eq(strings.count, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("option");
	TCase *tc = tcase_create("rows");
	SRunner *sr = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, test_defaults);
	tcase_add_test(tc, test_numbers);
	tcase_add_test(tc, test_durations);
	tcase_add_test(tc, test_durations_too_long);
	tcase_add_test(tc, test_sizes);
	tcase_add_test(tc, test_words);
	tcase_add_test(tc, test_strings);
	tcase_add_test(tc, test_foreign_bytes_are_escaped);
	tcase_add_test(tc, test_origin_and_failure);
	tcase_add_test(tc, test_equal_and_copy);
	tcase_add_test(tc, test_equal_by_type);
	tcase_add_test(tc, test_print_round_trip);
	tcase_add_test(tc, test_explain);
	tcase_add_test(tc, test_suggest);
	tcase_add_test(tc, test_strings_list);
	suite_add_tcase(s, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
