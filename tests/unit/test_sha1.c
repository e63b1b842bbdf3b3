/* SHA-1 against the test vectors of RFC 3174 and of FIPS 180, in one piece and in many. */
#include "core/sha1.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static const struct vector {
	const char *text;
	size_t times;
	const char *digest;
} vectors[] = {
	{ "abc", 1, "a9993e364706816aba3e25717850c26c9cd0d89d" },
	{ "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
	    "84983e441c3bd26ebaae4aa1f95129e5e54670f1" },
	{ "a", 1000000, "34aa973cd4c4daa4f61eeb2bdbad27316534016f" },
	{ "0123456701234567012345670123456701234567012345670123456701234567", 10,
	    "dea356a2cddd90c7a7ecedc5ebb563934f460452" },
	{ "", 1, "da39a3ee5e6b4b0d3255bfef95601890afd80709" },
};
#define VECTORS (sizeof(vectors) / sizeof(vectors[0]))

START_TEST(matches_the_vectors)
{
	const struct vector *vector = &vectors[_i];
	char digits[SHA1_DIGITS];
	struct sha1 sha1;

	sha1_begin(&sha1);
	for (size_t i = 0; i < vector->times; i++)
		sha1_add(&sha1, vector->text, strlen(vector->text));
	sha1_end(&sha1, digits);
	ck_assert_mem_eq(digits, vector->digest, SHA1_DIGITS);
}
END_TEST

/* All lengths around the ends of blocks: in one piece as in pieces of that length. */
START_TEST(pieces_do_not_count)
{
	char bytes[200], whole[SHA1_DIGITS], pieces[SHA1_DIGITS];
	size_t piece = (size_t)_i;
	struct sha1 sha1;

	memset(bytes, 'x', sizeof(bytes));
	for (size_t length = 0; length < sizeof(bytes); length++) {
		sha1_begin(&sha1);
		sha1_add(&sha1, bytes, length);
		sha1_end(&sha1, whole);
		sha1_begin(&sha1);
		for (size_t at = 0; at < length; at += piece)
			sha1_add(&sha1, bytes + at, length - at < piece ? length - at : piece);
		sha1_end(&sha1, pieces);
		ck_assert_mem_eq(whole, pieces, SHA1_DIGITS);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sha1");
	TCase *tc = tcase_create("sha1");
	SRunner *sr;
	int failed;

	tcase_add_loop_test(tc, matches_the_vectors, 0, VECTORS);
	tcase_add_loop_test(tc, pieces_do_not_count, 1, 130);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
