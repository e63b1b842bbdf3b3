/* SipHash-1-3 against the numbers of its reference implementation, and the key's randomness. */
#include "core/siphash.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* The hash of the bytes 00, 01, 02 ... under the key 00 01 ... 0f; the index is the length. */
static const uint64_t reference[] = {
	0xabac0158050fc4dc,
	0xc9f49bf37d57ca93,
	0x82cb9b024dc7d44d,
	0x8bf80ab8e7ddf7fb,
	0xcf75576088d38328,
	0xdef9d52f49533b67,
	0xc50d2b50c59f22a7,
	0xd3927d989bb11140,
	0x369095118d299a8e,
	0x25a48eb36c063de4,
	0x79de85ee92ff097f,
	0x70c118c1f94dc352,
	0x78a384b157b4d9a2,
	0x306f760c1229ffa7,
	0x605aa111c0f95d34,
	0xd320d86d2a519956,
	0xcc4fdd1a7d908b66,
	0x9cf2689063dbd80c,
	0x8ffc389cb473e63e,
	0xf21f9de58d297d1c,
	0xc0dc2f46a6cce040,
	0xb992abfe2b45f844,
	0x7ffe7b9ba320872e,
	0x525a0e7fdae6c123,
	0xf464aeb267349c8c,
	0x45cd5928705b0979,
	0x3a3e35e3ca9913a5,
	0xa91dc74e4ade3b35,
	0xfb0bed02ef6cd00d,
	0x88d93cb44ab1e1f4,
	0x540f11d643c5e663,
	0x2370dd1f8c21d1bc,
};
#define REFERENCES (sizeof(reference) / sizeof(reference[0]))

static const struct siphash_key reference_key = {
	.k0 = 0x0706050403020100,
	.k1 = 0x0f0e0d0c0b0a0908,
};

START_TEST(matches_the_reference)
{
	uint8_t bytes[64];

	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = (uint8_t)i;
	for (size_t length = 0; length < REFERENCES; length++)
		ck_assert_uint_eq(siphash13(&reference_key, bytes, length), reference[length]);
	ck_assert_uint_eq(siphash13(&reference_key, bytes, 63), 0x9d199062b7bbb3a8);
}
END_TEST

START_TEST(does_not_depend_on_alignment)
{
	uint8_t bytes[REFERENCES + 8];

	for (size_t offset = 0; offset < 8; offset++) {
		for (size_t i = 0; i < REFERENCES; i++)
			bytes[offset + i] = (uint8_t)i;
		for (size_t length = 0; length < REFERENCES; length++) {
			uint64_t hash = siphash13(&reference_key, bytes + offset, length);

			ck_assert_uint_eq(hash, reference[length]);
		}
	}
}
END_TEST

/* On the heap, exactly as long: a sanitizer sees the first byte too many. */
START_TEST(reads_no_further_than_the_length)
{
	for (size_t length = 1; length < REFERENCES; length++) {
		uint8_t *bytes = malloc(length);

		ck_assert_ptr_nonnull(bytes);
		for (size_t i = 0; i < length; i++)
			bytes[i] = (uint8_t)i;
		ck_assert_uint_eq(siphash13(&reference_key, bytes, length), reference[length]);
		free(bytes);
	}
	ck_assert_uint_eq(siphash13(&reference_key, NULL, 0), reference[0]);
}
END_TEST

START_TEST(every_key_bit_counts)
{
	for (int bit = 0; bit < 128; bit++) {
		struct siphash_key key = reference_key;

		if (bit < 64)
			key.k0 ^= (uint64_t)1 << bit;
		else
			key.k1 ^= (uint64_t)1 << (bit - 64);
		ck_assert_uint_ne(siphash13(&key, "", 0), reference[0]);
	}
}
END_TEST

START_TEST(random_keys_differ)
{
	struct siphash_key one = { 0 }, other = { 0 };

	ck_assert_int_eq(siphash_key_random(&one), 0);
	ck_assert_int_eq(siphash_key_random(&other), 0);
	ck_assert_uint_ne(one.k0, other.k0);
	ck_assert_uint_ne(one.k1, other.k1);
	ck_assert_uint_ne(one.k0, one.k1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("siphash");
	TCase *tc = tcase_create("siphash");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, matches_the_reference);
	tcase_add_test(tc, does_not_depend_on_alignment);
	tcase_add_test(tc, reads_no_further_than_the_length);
	tcase_add_test(tc, every_key_bit_counts);
	tcase_add_test(tc, random_keys_differ);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
