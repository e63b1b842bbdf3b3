/* Any bytes as JSON and as text, and numbers for people. */
#include <check.h>
#include <event2/buffer.h>
#include <stdint.h>
#include <string.h>

#include "control/show.h"
#include "observe/json.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

static const struct {
	const char *text, *json, *shown;
} texts[] = {
	{ "plain", "\"plain\"", "plain" },
	{ "", "\"\"", "" },
	{ "gr\xc3\xbc\xc3\x9f", "\"gr\xc3\xbc\xc3\x9f\"", "gr\\xc3\\xbc\\xc3\\x9f" },
	{ "\xff/\xc3", "\"\\\\xff/\\\\xc3\"", "\\xff/\\xc3" },
	{ "a\nb\x1b[2J", "\"a\\nb\\u001B[2J\"", "a\\x0ab\\x1b[2J" },
	{ "say \"x\"", "\"say \\\"x\\\"\"", "say \"x\"" },
};

static char *contents(struct evbuffer *out)
{
	evbuffer_add(out, "", 1);
	return (char *)evbuffer_pullup(out, -1);
}

START_TEST(any_text_is_json)
{
	json_t *text = json_text(texts[_i].text), *array = json_array(), *back;
	struct evbuffer *out = evbuffer_new();
	char expected[128];

	json_array_append(array, text);
	ck_assert_int_eq(json_write_line(array, out), 0);
	snprintf(expected, sizeof(expected), "[%s]\n", texts[_i].json);
	ck_assert_str_eq(contents(out), expected);
	back = json_loads(contents(out), 0, NULL);
	ck_assert_ptr_nonnull(back);
	ck_assert(json_equal(back, array));
	json_decref(back);
	json_decref(array);
	json_decref(text);
	evbuffer_free(out);
}
END_TEST

START_TEST(any_text_is_one_line)
{
	struct evbuffer *out = evbuffer_new();

	show_text(texts[_i].text, out);
	ck_assert_str_eq(contents(out), texts[_i].shown);
	evbuffer_free(out);
}
END_TEST

START_TEST(nothing_is_null)
{
	json_t *text = json_text(NULL), *time = json_time(0);

	ck_assert(json_is_null(text) && json_is_null(time));
	time = json_time(1795222923);
	ck_assert_str_eq(json_string_value(time), "2026-11-21T01:02:03Z");
	json_decref(time);
}
END_TEST

static const struct {
	uint64_t bytes;
	const char *shown;
} sizes[] = {
	{ 0, "0 B" },
	{ 1023, "1023 B" },
	{ 1024, "1.0 KB" },
	{ 1536, "1.5 KB" },
	{ (1 << 20) - 1, "1.0 MB" },
	{ UINT64_C(5) << 30, "5.0 GB" },
	{ UINT64_MAX, "16.0 EB" },
};

START_TEST(bytes_for_people)
{
	char text[32];

	ck_assert_str_eq(show_bytes(sizes[_i].bytes, text, sizeof(text)), sizes[_i].shown);
}
END_TEST

static const struct {
	int64_t ms;
	const char *shown;
} durations[] = {
	{ 0, "0 ms" },
	{ 999, "999 ms" },
	{ 1000, "1.0 s" },
	{ 59999, "59.9 s" },
	{ 60000, "1 min 0 s" },
	{ 3599999, "59 min 59 s" },
	{ 3600000, "1 h 0 min" },
	{ 86400000, "1 d 0 h" },
	{ INT64_C(400) * 86400000, "400 d 0 h" },
};

START_TEST(durations_for_people)
{
	char text[32];

	ck_assert_str_eq(show_duration(durations[_i].ms, text, sizeof(text)), durations[_i].shown);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("json");
	TCase *tc = tcase_create("json");
	SRunner *sr = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, any_text_is_json, 0, COUNT(texts));
	tcase_add_loop_test(tc, any_text_is_one_line, 0, COUNT(texts));
	tcase_add_test(tc, nothing_is_null);
	tcase_add_loop_test(tc, bytes_for_people, 0, COUNT(sizes));
	tcase_add_loop_test(tc, durations_for_people, 0, COUNT(durations));
	suite_add_tcase(s, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
