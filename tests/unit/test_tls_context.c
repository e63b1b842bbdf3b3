/* Names of certificates, the choice among several, and the identity of a client's. */
#include <check.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "net/tls_certificate.h"
#include "net/tls_identity.h"
#include "net/tls_pem.h"
#include "net/tls_server.h"

#define DAY (24 * 60 * 60)

static EVP_PKEY *key;

static void setup(void)
{
	key = EVP_EC_gen("P-256");
	ck_assert_ptr_nonnull(key);
}

static void teardown(void)
{
	EVP_PKEY_free(key);
}

/* A certificate of these alternative names (NULL = it has none), in the syntax of openssl.cnf. */
static X509 *make_certificate(const char *common, const char *names)
{
	X509 *certificate = X509_new();
	X509_EXTENSION *extension;

	X509_set_version(certificate, X509_VERSION_3);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -DAY);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 90 * DAY);
	X509_set_pubkey(certificate, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
	    (const unsigned char *)common, -1, -1, 0);
	if (names != NULL) {
		extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
		ck_assert_ptr_nonnull(extension);
		X509_add_ext(certificate, extension, -1);
		X509_EXTENSION_free(extension);
	}
	ck_assert_int_gt(X509_sign(certificate, key, EVP_sha256()), 0);
	return certificate;
}

/* A DNS name of any bytes, which no configuration file can have. */
static X509 *make_odd_certificate(const void *bytes, int length)
{
	X509 *certificate = make_certificate("odd", NULL);
	GENERAL_NAMES *names = sk_GENERAL_NAME_new_null();
	GENERAL_NAME *name = GENERAL_NAME_new();
	ASN1_IA5STRING *value = ASN1_IA5STRING_new();

	ASN1_STRING_set(value, bytes, length);
	GENERAL_NAME_set0_value(name, GEN_DNS, value);
	sk_GENERAL_NAME_push(names, name);
	X509_add1_ext_i2d(certificate, NID_subject_alt_name, names, 0, 0);
	GENERAL_NAMES_free(names);
	return certificate;
}

static void init(struct tls_certificate *certificate, X509 *leaf)
{
	struct tls_pem pem = { .certificates = sk_X509_new_null(), .key = key };
	struct error error;

	sk_X509_push(pem.certificates, leaf);
	ck_assert_int_eq(
	    tls_certificate_init(certificate, "/a.pem", &pem, "/a.pem", &pem, &error), 0);
	sk_X509_pop_free(pem.certificates, X509_free);
}

/* --- names --- */

static const struct {
	const char *names, *name;
	bool exact, wildcard;
} matches[] = {
	{ "DNS:example.org", "example.org", true, false },
	{ "DNS:example.org", "EXAMPLE.org", true, false },
	{ "DNS:Example.Org", "example.org", true, false },
	{ "DNS:example.org", "a.example.org", false, false },
	{ "DNS:example.org", "example.or", false, false },
	{ "DNS:example.org,DNS:example.net", "example.net", true, false },
	{ "DNS:*.example.org", "a.example.org", false, true },
	{ "DNS:*.example.org", "A.EXAMPLE.ORG", false, true },
	{ "DNS:*.example.org", "a.b.example.org", false, false },
	{ "DNS:*.example.org", "example.org", false, false },
	{ "DNS:*.example.org", ".example.org", false, false },
	{ "DNS:*.example.org", "aexample.org", false, false },
	{ "DNS:*.example.org", "*.example.org", true, true },
	{ "DNS:*", "a", false, false },
	{ "IP:192.0.2.1", "192.0.2.1", true, false },
};

START_TEST(a_name_matches)
{
	struct tls_certificate certificate;

	init(&certificate, make_certificate("common.example.org", matches[_i].names));
	ck_assert_int_eq(
	    tls_certificate_matches(&certificate, matches[_i].name, true), matches[_i].exact);
	ck_assert_int_eq(
	    tls_certificate_matches(&certificate, matches[_i].name, false), matches[_i].wildcard);
	ck_assert(!tls_certificate_matches(&certificate, "common.example.org", true));
	tls_certificate_clear(&certificate);
}
END_TEST

START_TEST(the_common_name_counts_without_other_names)
{
	struct tls_certificate certificate;
	struct error error;

	init(&certificate, make_certificate("Common.example.org", NULL));
	ck_assert(tls_certificate_matches(&certificate, "common.example.org", true));
	ck_assert_int_eq(tls_certificate_warn(&certificate, &error), -1);
	ck_assert_ptr_nonnull(strstr(error.text, "has no subjectAltName"));
	tls_certificate_clear(&certificate);
}
END_TEST

START_TEST(a_name_with_odd_bytes_is_none)
{
	struct tls_certificate certificate;

	init(&certificate, make_odd_certificate("a.org\0b.org", 11));
	ck_assert_uint_eq(certificate.names.count, 1); /* the common name */
	ck_assert(!tls_certificate_matches(&certificate, "a.org", true));
	tls_certificate_clear(&certificate);
}
END_TEST

START_TEST(exact_names_come_before_wildcards)
{
	struct tls_certificates all = { calloc(4, sizeof(struct tls_certificate)), 4 };

	init(&all.items[0], make_certificate("first", "DNS:first.org"));
	init(&all.items[1], make_certificate("wild", "DNS:*.example.org"));
	init(&all.items[2], make_certificate("exact", "DNS:a.example.org"));
	init(&all.items[3], make_certificate("again", "DNS:a.example.org"));
	ck_assert_uint_eq(tls_certificates_find(&all, "a.example.org"), 2);
	ck_assert_uint_eq(tls_certificates_find(&all, "b.example.org"), 1);
	ck_assert_uint_eq(tls_certificates_find(&all, "first.org"), 0);
	ck_assert_uint_eq(tls_certificates_find(&all, "unknown.org"), 0);
	ck_assert_uint_eq(tls_certificates_find(&all, ""), 0);
	ck_assert_uint_eq(tls_certificates_find(&all, NULL), 0);
	tls_certificates_clear(&all);
}
END_TEST

/* --- the time --- */

static const struct {
	int days; /* from now */
	const char *said;
} times[] = {
	{ -2, "is not valid before" },
	{ 0, NULL },
	{ 75, NULL },
	{ 76, ", in 14 days" }, /* less some seconds, so 13 in full */
	{ 89, ", within a day" },
	{ 91, "has expired at" },
};

START_TEST(the_time)
{
	struct tls_certificate certificate;
	struct error error;
	time_t now;
	int result;

	init(&certificate, make_certificate("a", "DNS:a.org"));
	now = certificate.not_before + DAY + times[_i].days * DAY + (times[_i].days == 89 ? 1 : 0);
	result = tls_certificate_check_time(&certificate, now, &error);
	ck_assert_int_eq(result, times[_i].said == NULL ? 0 : -1);
	if (times[_i].said != NULL)
		ck_assert_msg(strstr(error.text, times[_i].said) != NULL, "%s", error.text);
	tls_certificate_clear(&certificate);
}
END_TEST

/* --- identities --- */

static const struct {
	const char *names, *identity;
} identities[] = {
	{ NULL, "" },
	{ "DNS:Alice.Example.org", "dns:alice.example.org" },
	{ "email:a@example.org,DNS:a.org,URI:urn:x", "dns:a.org" },
	{ "IP:192.0.2.1,URI:spiffe://Example.org/a,DNS:a.org", "uri:spiffe://Example.org/a" },
	{ "email:a@example.org", "" },
};

START_TEST(the_identity)
{
	X509 *certificate = make_certificate("a", identities[_i].names);
	struct tls_identity identity;

	ck_assert(tls_identity_read(&identity, certificate));
	ck_assert_str_eq(identity.name, identities[_i].identity);
	ck_assert_uint_eq(strlen(identity.fingerprint), strlen("sha256:") + 64);
	ck_assert_int_eq(strncmp(identity.fingerprint, "sha256:", 7), 0);
	X509_free(certificate);
}
END_TEST

START_TEST(the_fingerprint_is_that_of_the_key)
{
	X509 *one = make_certificate("a", "DNS:a.org"), *two = make_certificate("b", NULL), *three;
	struct tls_identity a, b;

	ck_assert(tls_identity_read(&a, one) && tls_identity_read(&b, two));
	ck_assert_str_eq(a.fingerprint, b.fingerprint);
	EVP_PKEY_free(key);
	key = EVP_EC_gen("P-256");
	three = make_certificate("a", "DNS:a.org");
	ck_assert(tls_identity_read(&b, three));
	ck_assert_str_ne(a.fingerprint, b.fingerprint);
	X509_free(one);
	X509_free(two);
	X509_free(three);
}
END_TEST

static const char *const odd_names[] = { "", "a b", "a\nb", "a\xc3\xa4", "a\x7f" };

START_TEST(an_odd_name_is_no_identity)
{
	const char *name = odd_names[_i];
	X509 *certificate = make_odd_certificate(name, (int)strlen(name));
	struct tls_identity identity;

	ck_assert(tls_identity_read(&identity, certificate));
	ck_assert_str_eq(identity.name, "");
	X509_free(certificate);
}
END_TEST

START_TEST(a_long_name_is_whole_or_not_there)
{
	char bytes[TLS_NAME_MAX];
	struct tls_identity identity;
	X509 *certificate;

	memset(bytes, 'a', sizeof(bytes));
	bytes[1] = '\0'; /* would end a string */
	certificate = make_odd_certificate(bytes, 3);
	ck_assert(tls_identity_read(&identity, certificate));
	ck_assert_str_eq(identity.name, "");
	X509_free(certificate);
	bytes[1] = 'a';
	certificate = make_odd_certificate(bytes, TLS_NAME_MAX - 5);
	ck_assert(tls_identity_read(&identity, certificate));
	ck_assert_uint_eq(strlen(identity.name), TLS_NAME_MAX - 1);
	X509_free(certificate);
	certificate = make_odd_certificate(bytes, TLS_NAME_MAX - 4);
	ck_assert(tls_identity_read(&identity, certificate));
	ck_assert_str_eq(identity.name, "");
	X509_free(certificate);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("tls_context");
	TCase *tests = tcase_create("certificates");
	SRunner *runner;
	int not_passed;

	tcase_add_checked_fixture(tests, setup, teardown);
#define ADD_LOOP(test, rows) tcase_add_loop_test(tests, test, 0, sizeof(rows) / sizeof((rows)[0]))
	ADD_LOOP(a_name_matches, matches);
	tcase_add_test(tests, the_common_name_counts_without_other_names);
	tcase_add_test(tests, a_name_with_odd_bytes_is_none);
	tcase_add_test(tests, exact_names_come_before_wildcards);
	ADD_LOOP(the_time, times);
	ADD_LOOP(the_identity, identities);
	tcase_add_test(tests, the_fingerprint_is_that_of_the_key);
	ADD_LOOP(an_odd_name_is_no_identity, odd_names);
	tcase_add_test(tests, a_long_name_is_whole_or_not_there);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	not_passed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return not_passed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
