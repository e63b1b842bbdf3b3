/*
 * The JSON of the time service: every row of what it promises, and that the canonical request, which is
 * known by its bytes, is answered with the very bytes of the long way.
 */
#include <check.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "services/service.h"

static struct instance instance;

static void start(void)
{
	struct error error;

	setenv("TZ", "Asia/Kolkata", 1); /* an offset of half an hour */
	tzset();
	memset(&instance, 0, sizeof(instance));
	ck_assert_int_eq(service_time.start(&instance, &error), 0);
}

static void stop(void)
{
	free(instance.state);
}

/* The answer as text, or "" for none. */
static const char *ask(const char *request, size_t length)
{
	static char reply[65536];
	const struct datagram datagram = { .bytes = request, .length = length };
	ssize_t n = service_time.handlers->datagram(&instance, &datagram, reply, sizeof(reply) - 1);

	reply[n == -1 ? 0 : n] = '\0';
	return reply;
}

/* Whether the text is the pattern, where 0 stands for any digit. */
static bool matches(const char *text, const char *pattern)
{
	for (; *pattern != '\0'; text++, pattern++)
		if (*pattern == '0' ? *text < '0' || *text > '9' : *text != *pattern)
			return false;
	return *text == '\0';
}

#define TEXT(text) (text), sizeof(text) - 1
#define UNKNOWN "{\"error\": \"unknown request\"}"
#define INVALID "{\"error\": \"invalid JSON\"}"
#define PLAIN "{\"time\": \"0000-00-00 00:00:00.000000\"}"

static const struct {
	const char *request;
	size_t length;
	const char *answer;
} rows[] = {
	{ TEXT("{\"type\": \"time\"}"), PLAIN },
	{ TEXT("{\"type\":\"time\"}\n"), PLAIN },
	{ TEXT("{\"other\": [1, {}], \"type\": \"time\"}"), PLAIN },
	{ TEXT("{\"type\": \"x\", \"type\": \"time\"}"), PLAIN },
	{ TEXT("{\"type\": \"time\", \"type\": \"x\"}"), UNKNOWN },
	{ TEXT("{\"type\": \"time\", \"error\": 1}"), PLAIN },
	{ TEXT("{\"type\": \"time\", \"tz\": \"utc\"}"), PLAIN },
	{ TEXT("{\"type\": \"time\", \"tz\": \"utc\", \"format\": \"iso8601\"}"),
	    "{\"time\": \"0000-00-00T00:00:00.000000+00:00\"}" },
	{ TEXT("{\"type\": \"time\", \"format\": \"iso8601\"}"),
	    "{\"time\": \"0000-00-00T00:00:00.000000+00:00\"}" },
	{ TEXT("{\"type\": \"time\", \"format\": \"unix\"}"), "{\"time\": 0000000000.000000}" },
	{ TEXT("{\"type\": \"time\", \"id\": 7}"),
	    "{\"time\": \"0000-00-00 00:00:00.000000\", \"id\": 7}" },
	{ TEXT("{\"type\": \"time\", \"id\": null}"),
	    "{\"time\": \"0000-00-00 00:00:00.000000\", \"id\": null}" },
	{ TEXT("{\"type\": \"time\", \"id\": {\"a\": [\"\\u0000\"]}}"),
	    "{\"time\": \"0000-00-00 00:00:00.000000\", \"id\": {\"a\": [\"\\u0000\"]}}" },
	{ TEXT("{\"type\": \"time\", \"id\": [0.1, 1e300, 0.30000000000000004]}"),
	    "{\"time\": \"0000-00-00 00:00:00.000000\", "
	    "\"id\": [0.10000000000000001, 1.0000000000000001e300, 0.30000000000000004]}" },
	{ TEXT("{\"type\": \"time\", \"id\": [0.1, -2.5e-7, 1e300, 0.5]}"),
	    "{\"time\": \"0000-00-00 00:00:00.000000\", \"id\": [0.1, -2.5e-7, 1e300, 0.5]}" },
	{ TEXT("{\"type\": \"time\", \"tz\": \"mars\"}"), UNKNOWN },
	{ TEXT("{\"type\": \"time\", \"format\": 3}"), UNKNOWN },
	{ TEXT("{\"type\": \"Time\"}"), UNKNOWN },
	{ TEXT("{\"type\": [\"time\"]}"), UNKNOWN },
	{ TEXT("{}"), UNKNOWN },
	{ TEXT("[]"), UNKNOWN },
	{ TEXT("\"time\""), UNKNOWN },
	{ TEXT("5"), UNKNOWN },
	{ TEXT("null"), UNKNOWN },
	{ TEXT("[\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"]"), UNKNOWN },
	{ TEXT("[\"\\\"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[\"]"), UNKNOWN },
	{ TEXT("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"), UNKNOWN },
	{ TEXT("[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"), INVALID },
	{ TEXT("time"), INVALID },
	{ TEXT(" "), INVALID },
	{ TEXT("{\"type\": \"time\"} {}"), INVALID },
	{ TEXT("{\"type\": \"time\",}"), INVALID },
	{ TEXT("{\"type\": \"time\", \"id\": NaN}"), INVALID },
	{ TEXT("{\"type\": \"time\", \"id\": \"\xff\"}"), INVALID },
	{ TEXT("{\"type\": \"time\"}\0"), INVALID },
	{ TEXT("\xef\xbb\xbf{}"), INVALID },
	/* an answer is not answered */
	{ TEXT(UNKNOWN), "" },
	{ TEXT("{\"time\": 5, \"id\": 1}"), "" },
	{ TEXT("{\"error\": null}"), "" },
	{ TEXT(""), "" },
};

START_TEST(row)
{
	const char *answer = ask(rows[_i].request, rows[_i].length);
	json_t *json;

	/* "+00:00" in a pattern is any offset; Kolkata's is checked below. */
	ck_assert_msg(matches(answer, rows[_i].answer), "%s: %s", rows[_i].request, answer);
	if (*answer == '\0')
		return;
	json = json_loads(answer, JSON_ALLOW_NUL, NULL);
	ck_assert_ptr_nonnull(json);
	json_decref(json);
}
END_TEST

START_TEST(offset_is_told)
{
	const char *answer = ask(TEXT("{\"type\": \"time\", \"format\": \"iso8601\"}"));

	ck_assert_ptr_nonnull(strstr(answer, "+05:30\"}"));
	answer = ask(TEXT("{\"type\": \"time\", \"format\": \"iso8601\", \"tz\": \"utc\"}"));
	ck_assert_ptr_nonnull(strstr(answer, "+00:00\"}"));
}
END_TEST

/* Up to the second; a turn of the second between the two calls is tried again. */
START_TEST(both_ways_say_the_same)
{
	char fast[64], slow[64];
	const size_t second = strlen("{\"time\": \"0000-00-00 00:00:00");

	do {
		strcpy(fast, ask(TEXT("{\"type\": \"time\"}")));
		strcpy(slow, ask(TEXT("{ \"type\": \"time\"}")));
	} while (strncmp(fast + second - 2, slow + second - 2, 2) != 0);
	ck_assert_uint_eq(strlen(fast), strlen(slow));
	ck_assert_mem_eq(fast, slow, second);
	ck_assert_str_eq(fast + strlen(fast) - 2, slow + strlen(slow) - 2);
}
END_TEST

START_TEST(local_time_is_told)
{
	time_t before, after;
	char expected[64];
	const char *answer;
	struct tm tm;

	do {
		before = time(NULL);
		answer = ask(TEXT("{\"type\": \"time\"}"));
		after = time(NULL);
	} while (before != after);
	strftime(expected, sizeof(expected), "{\"time\": \"%F %T.", localtime_r(&before, &tm));
	ck_assert_mem_eq(answer, expected, strlen(expected));
}
END_TEST

/* Numbers that grow when they are told in full: the answer is cut short before it is an attack. */
START_TEST(no_amplifier)
{
	char request[4000];
	size_t length =
	    (size_t)sprintf(request, "{\"type\": \"time\", \"id\": [0.30000000000000004");

	while (length < sizeof(request) - 10)
		length += (size_t)sprintf(request + length, ",0.1");
	length += (size_t)sprintf(request + length, "]}");
	ck_assert_str_eq(ask(request, length), INVALID);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("time");
	TCase *json = tcase_create("json");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(json, start, stop);
	tcase_add_loop_test(json, row, 0, (int)(sizeof(rows) / sizeof(rows[0])));
	tcase_add_test(json, offset_is_told);
	tcase_add_test(json, both_ways_say_the_same);
	tcase_add_test(json, local_time_is_told);
	tcase_add_test(json, no_amplifier);
	suite_add_tcase(suite, json);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
