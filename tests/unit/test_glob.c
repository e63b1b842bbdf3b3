/* Glob patterns: what Redis matches, its corner cases, and that none of them takes long. */
#include "kv/glob.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static size_t work;

static bool matches(const char *pattern, const char *key)
{
	work = 0;
	return glob_match(
	    (struct slice){ pattern, strlen(pattern) }, (struct slice){ key, strlen(key) }, &work);
}

/* Each is a pattern, then keys that match, NULL, keys that do not, NULL. */
static const char *const *expect(const char *const *texts)
{
	const char *pattern = *texts++;

	for (; *texts != NULL; texts++)
		ck_assert_msg(matches(pattern, *texts), "%s does not match %s", pattern, *texts);
	for (texts++; *texts != NULL; texts++)
		ck_assert_msg(!matches(pattern, *texts), "%s matches %s", pattern, *texts);
	return texts + 1;
}

static const char *const table[] = {
	/* plain bytes, all of the key */
	"abc",
	"abc",
	NULL,
	"",
	"ab",
	"abcd",
	"ABC",
	NULL,
	"",
	"",
	NULL,
	"a",
	NULL,
	"\xff",
	"\xff",
	NULL,
	"\x7f",
	NULL,
	/* one byte */
	"?",
	"a",
	"?",
	"\xe4",
	NULL,
	"",
	"ab",
	NULL,
	"a?c",
	"abc",
	"a?c",
	NULL,
	"ac",
	"abbc",
	NULL,
	/* any bytes */
	"*",
	"",
	"a",
	"a b\n",
	NULL,
	NULL,
	"**",
	"",
	"abc",
	NULL,
	NULL,
	"a*",
	"a",
	"abc",
	NULL,
	"",
	"ba",
	NULL,
	"*a",
	"a",
	"cba",
	"aa",
	NULL,
	"",
	"ab",
	NULL,
	"*ab*",
	"ab",
	"aab",
	"xabx",
	"aabb",
	NULL,
	"a",
	"ba",
	"aXb",
	NULL,
	"a*b*c",
	"abc",
	"aXbXc",
	"abcbc",
	"aabbcc",
	NULL,
	"acb",
	"abcd",
	NULL,
	"*?",
	"a",
	"ab",
	NULL,
	"",
	NULL,
	"?*?",
	"ab",
	"abc",
	NULL,
	"a",
	NULL,
	"*aab",
	"aaab",
	"aabaab",
	NULL,
	"aaba",
	NULL,
	/* classes */
	"[abc]",
	"a",
	"b",
	"c",
	NULL,
	"d",
	"",
	"ab",
	NULL,
	"[^abc]",
	"d",
	"^",
	NULL,
	"a",
	"",
	NULL,
	"[a^]",
	"a",
	"^",
	NULL,
	"b",
	NULL,
	"[b-d]",
	"b",
	"c",
	"d",
	NULL,
	"a",
	"e",
	"-",
	NULL,
	"[d-b]",
	"b",
	"c",
	"d",
	NULL,
	"a",
	"e",
	NULL,
	"[^b-d]x",
	"ax",
	NULL,
	"cx",
	NULL,
	"[\x80-\xff]",
	"\xc3",
	NULL,
	"a",
	NULL,
	"[a-]",
	"a",
	"]",
	"`",
	NULL,
	"-",
	"\\",
	NULL, /* a range up to the bracket, and no end */
	"[-a]",
	"-",
	"a",
	NULL,
	"b",
	NULL,
	"[]",
	NULL,
	"a",
	"",
	"]",
	NULL,
	"[^]",
	"a",
	"]",
	NULL,
	"",
	NULL,
	"[a\\]b]",
	"a",
	"]",
	"b",
	NULL,
	"\\",
	NULL,
	"[\\-a]",
	"-",
	"a",
	NULL,
	"\\",
	"b",
	NULL,
	"*[0-9]",
	"a1",
	"1",
	NULL,
	"a",
	"1a",
	NULL,
	"[*]",
	"*",
	NULL,
	"a",
	NULL,
	"[?]",
	"?",
	NULL,
	"a",
	NULL,
	/* without an end */
	"[",
	NULL,
	"[",
	"",
	NULL,
	"[^",
	"a",
	NULL,
	"",
	NULL,
	"[ab",
	"a",
	"b",
	NULL,
	"[ab",
	NULL,
	/* escapes */
	"\\*",
	"*",
	NULL,
	"a",
	"",
	"\\*",
	NULL,
	"\\?",
	"?",
	NULL,
	"a",
	NULL,
	"\\[a]",
	"[a]",
	NULL,
	"a",
	NULL,
	"\\\\",
	"\\",
	NULL,
	"a",
	NULL,
	"a\\",
	"a\\",
	NULL,
	"a",
	NULL, /* one at the end stands for itself */
	"*\\*",
	"a*",
	"**",
	NULL,
	"a",
	NULL,
	NULL,
};

START_TEST(what_matches)
{
	for (const char *const *texts = table; *texts != NULL;)
		texts = expect(texts);
}
END_TEST

START_TEST(nul_is_a_byte)
{
	struct slice key = { "a\0b", 3 };

	ck_assert(glob_match((struct slice){ "a?b", 3 }, key, &work));
	ck_assert(glob_match((struct slice){ "a\0b", 3 }, key, &work));
	ck_assert(!glob_match((struct slice){ "a\0c", 3 }, key, &work));
	ck_assert(!glob_match((struct slice){ "a", 1 }, key, &work));
}
END_TEST

/* Redis takes years for the first one. */
START_TEST(the_work_is_bounded)
{
	char pattern[1025] = "", key[251] = "";

	while (strlen(pattern) < 1000)
		strcat(pattern, "*a");
	strcat(pattern, "b");
	memset(key, 'a', 250);
	ck_assert(!matches(pattern, key));
	ck_assert_uint_le(work, 2 * strlen(key) * strlen(pattern));
	memset(pattern, 'x', 1024);
	memcpy(pattern, "*[", 2);
	memcpy(pattern + 1022, "]b", 2);
	memset(key, 'x', 250);
	ck_assert(!matches(pattern, key));
	ck_assert_uint_gt(work, strlen(key) * 1000); /* what a class takes is counted */
	ck_assert_uint_le(work, 4 * strlen(key) * strlen(pattern));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("glob");
	TCase *tests = tcase_create("glob");
	SRunner *runner;
	int not_passed;

	tcase_add_test(tests, what_matches);
	tcase_add_test(tests, nul_is_a_byte);
	tcase_add_test(tests, the_work_is_bounded);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	not_passed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return not_passed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
