/* Tokens and hashes of passwords against known answers, and which hashes are refused, with what advice. */
#include "core/secret.h"

#include <check.h>
#include <string.h>

#include "core/error.h"

/* --- tokens --- */

START_TEST(tokens_differ)
{
	char one[SECRET_TOKEN_HEX], other[SECRET_TOKEN_HEX];

	ck_assert_int_eq(secret_token(one), 0);
	ck_assert_int_eq(secret_token(other), 0);
	ck_assert_uint_eq(strspn(one, "0123456789abcdef"), SECRET_TOKEN_HEX - 1);
	ck_assert_uint_eq(strlen(one), SECRET_TOKEN_HEX - 1);
	ck_assert_str_ne(one, other);
}
END_TEST

/* FIPS 180-2, appendix B.1 */
START_TEST(digests)
{
	static const unsigned char expected[] = { 0xba, 0x78, 0x16, 0xbf, 0x8f, 0x01, 0xcf, 0xea,
		0x41, 0x41, 0x40, 0xde, 0x5d, 0xae, 0x22, 0x23, 0xb0, 0x03, 0x61, 0xa3, 0x96, 0x17,
		0x7a, 0x9c, 0xb4, 0x10, 0xff, 0x61, 0xf2, 0x00, 0x15, 0xad };
	unsigned char digest[SECRET_DIGEST];

	secret_digest("abcd", 3, digest);
	ck_assert_mem_eq(digest, expected, SECRET_DIGEST);
	ck_assert(secret_digest_equal(digest, expected));
	for (int i = 0; i < SECRET_DIGEST; i++) {
		digest[i] ^= 0x40;
		ck_assert(!secret_digest_equal(digest, expected));
		digest[i] ^= 0x40;
	}
}
END_TEST

/* --- passwords --- */

#define HORSE "correct horse"

/* $5$ and $6$ are OpenSSL's, of bcrypt the first one is of the test vectors of its author. */
static const struct answer {
	const char *password, *hash;
} answers[] = {
	{ HORSE, "$y$j9T$LdJMENpBABJJ3hIHjB1Bi.$CbmXE/O/0bCHlsAzIaBSSe6Q31ZVeM4OxkjSOnAQ3C6" },
	{ HORSE, "$gy$j9T$LdJMENpBABJJ3hIHjB1Bi.$vmN.JIl2qZeY7GlXRnRCDOedO6CFVxPodmZoFb.WsK4" },
	{ HORSE,
	    "$7$CU..../....LdJMENpBABJJ3hIHjB1Bi.$Kr6SAG28udjWeHrXVe48Cx9PexAQHVfdPzgIVbd7J63" },
	{ "U*U", "$2b$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW" },
	{ HORSE, "$2y$05$CCCCCCCCCCCCCCCCCCCCC.WrAwgFxicHZ3kL7zMvXYXHKosDn8ot2" },
	{ HORSE, "$2a$05$CCCCCCCCCCCCCCCCCCCCC.WrAwgFxicHZ3kL7zMvXYXHKosDn8ot2" },
	{ HORSE,
	    "$6$saltstring$.r0X7ub5wGR2v4Xz7svCIozfnlorFh19V89t8KC9Umd81uGhFgsyTRNyzQDXDIm17fFcR9"
	    "z3z7oBNdsyYBbtm/" },
	{ HORSE, "$5$saltstring$vc6YOOogU4kWVvwga8e9zTFgKcy4tb5LaPxIiPJzqEC" },
};
#define ANSWERS (sizeof(answers) / sizeof(answers[0]))

START_TEST(knows_the_answers)
{
	const struct answer *answer = &answers[_i];
	struct error error;

	ck_assert_int_eq(secret_hash_check(answer->hash, &error), 0);
	ck_assert(secret_hash_matches(answer->hash, answer->password));
	ck_assert(!secret_hash_matches(answer->hash, "Correct horse"));
	ck_assert(!secret_hash_matches(answer->hash, ""));
}
END_TEST

/* crypt(3) would take the rest for the setting of a new hash. */
START_TEST(wants_a_whole_hash)
{
	char hash[SECRET_HASH_MAX + 1];
	struct error error;
	size_t length = strlen(answers[_i].hash);

	memcpy(hash, answers[_i].hash, length + 1);
	for (size_t cut = length - 1; cut > 0; cut--) {
		hash[cut] = '\0';
		ck_assert_int_eq(secret_hash_check(hash, &error), -1);
		ck_assert(!secret_hash_matches(hash, answers[_i].password));
	}
	strcpy(hash, answers[_i].hash);
	strcat(hash, "x");
	ck_assert_int_eq(secret_hash_check(hash, &error), -1);
	ck_assert(!secret_hash_matches(hash, answers[_i].password));
	memset(hash + 4, 'x', SECRET_HASH_MAX - length - 4);
	strcpy(hash + SECRET_HASH_MAX - length, answers[_i].hash);
	ck_assert_int_eq(secret_hash_check(hash, &error), -1);
}
END_TEST

static const struct refusal {
	const char *hash, *why;
} refusals[] = {
	{ "", "got nothing" },
	{ "$apr1$abcdefgh$T0dy8pJyzPFQJjPHEBwHU/",
	    "got one of htpasswd's MD5 ($apr1$): use htpasswd -B" },
	{ "{SHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=",
	    "got one of htpasswd's SHA-1 ({SHA}): use htpasswd -B" },
	{ "{SSHA}qUqP5cyxm6YcTAhz05Hph5gvu9M=", "got one of LDAP's" },
	{ "$1$abcdefgh$G//4keteveJp0qb8z2DxG/", "got one of MD5 ($1$), which is weak" },
	{ "$sha1$1$a$b", "got one of SHA-1" },
	{ "$md5,rounds=1$a$b", "got one of MD5 ($md5)" },
	{ "$3$$8846f7eaee8fb117ad06bdd830b7586c", "got one of NT" },
	{ "$2x$05$CCCCCCCCCCCCCCCCCCCCC.E5YPO9kmyuRGyh0XouQYb4YMJKvyOeW", "faulty bcrypt ($2x$)" },
	{ "_J9..XXXXXXXXXXXXXXX", "got one of DES (_...)" },
	{ "abJnggxhB/yWI", "got one of DES, which is weak, or a password" },
	{ "*", "got a disabled one (*)" },
	{ "!$6$a$b", "got a disabled one (!)" },
	{ "sha256:12", "got sha256: with something else" },
	{ "$argon2id$v=19$m=1,t=1,p=1$a$b", "got one of a kind that is not known here" },
	{ "swordfish", "is it the password itself? hash it" },
	{ "$6$salt", "expected 86 characters behind its last $, got 4" },
	{ "$y$j9T$LdJMENpBABJJ3hIHjB1Bi.$CbmXE/O/0bCHlsAzIaB Se6Q31ZVeM4OxkjSOnAQ3C6",
	    "has a character that no hash has" },
};
#define REFUSALS (sizeof(refusals) / sizeof(refusals[0]))

START_TEST(says_why_a_hash_is_refused)
{
	struct error error;

	ck_assert_int_eq(secret_hash_check(refusals[_i].hash, &error), -1);
	ck_assert_msg(strstr(error.text, refusals[_i].why) != NULL, "%s", error.text);
	ck_assert_ptr_nonnull(strstr(error.text, "\"echoctl passwd\""));
	/* The file may hold a password by mistake; the log must not. */
	ck_assert_ptr_null(
	    strlen(refusals[_i].hash) < 8 ? NULL : strstr(error.text, refusals[_i].hash));
}
END_TEST

START_TEST(hashes)
{
	char one[SECRET_HASH_MAX], other[SECRET_HASH_MAX], longest[SECRET_PASSWORD_MAX + 2];
	struct error error;

	ck_assert_int_eq(secret_hash_new(HORSE, one, &error), 0);
	ck_assert_int_eq(secret_hash_new(HORSE, other, &error), 0);
	ck_assert_mem_eq(one, "$y$", 3);
	ck_assert_str_ne(one, other);
	ck_assert_int_eq(secret_hash_check(one, &error), 0);
	ck_assert(secret_hash_matches(one, HORSE));
	ck_assert(!secret_hash_matches(one, "correct hors"));

	memset(longest, 'x', sizeof(longest));
	longest[SECRET_PASSWORD_MAX] = '\0';
	ck_assert_int_eq(secret_hash_new(longest, one, &error), 0);
	ck_assert(secret_hash_matches(one, longest));
	longest[SECRET_PASSWORD_MAX] = 'x';
	longest[SECRET_PASSWORD_MAX + 1] = '\0';
	ck_assert(!secret_hash_matches(one, longest));
	ck_assert_int_eq(secret_hash_new(longest, one, &error), -1);
	ck_assert_str_eq(error.text, "the password is longer than 511 bytes");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("secret");
	TCase *tc = tcase_create("secret");
	SRunner *sr;
	int failed;

	tcase_add_test(tc, tokens_differ);
	tcase_add_test(tc, digests);
	tcase_add_loop_test(tc, knows_the_answers, 0, ANSWERS);
	tcase_add_loop_test(tc, wants_a_whole_hash, 0, ANSWERS);
	tcase_add_loop_test(tc, says_why_a_hash_is_refused, 0, REFUSALS);
	tcase_add_test(tc, hashes);
	suite_add_tcase(s, tc);
	sr = srunner_create(s);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
