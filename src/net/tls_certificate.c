/*
 * What OpenSSL would refuse only in a handshake, or with a code, is checked here, so that the administrator learns of it
 * in words when the file is read.
 */
#include "net/tls_certificate.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/log_escape.h"
#include "net/tls_pem.h"

#define RSA_BITS_MIN 2048
#define DAY (24 * 60 * 60)
#define EXPIRY_NOTICE (14 * DAY)
#define NAME_MAX_LENGTH 253 /* of a DNS name */

/* --- texts --- */

const char *tls_date(time_t time, char to[TLS_DATE_MAX])
{
	struct tm tm;

	if (gmtime_r(&time, &tm) == NULL ||
	    strftime(to, TLS_DATE_MAX, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		strcpy(to, "?");
	return to;
}

time_t tls_time(const ASN1_TIME *time)
{
	struct tm tm;

	return ASN1_TIME_to_tm(time, &tm) == 1 ? timegm(&tm) : 0;
}

const char *tls_subject(const X509_NAME *name, char to[TLS_SUBJECT_MAX])
{
	BIO *bio = BIO_new(BIO_s_mem());
	char *text;
	long length;

	to[0] = '\0';
	if (bio != NULL && X509_NAME_print_ex(bio, name, 0, XN_FLAG_RFC2253) > 0 &&
	    (length = BIO_get_mem_data(bio, &text)) > 0)
		log_escape(to, TLS_SUBJECT_MAX, text, (size_t)length);
	BIO_free(bio);
	return to;
}

/* --- names --- */

static void add_name(struct strings *names, const ASN1_STRING *value)
{
	const unsigned char *bytes = ASN1_STRING_get0_data(value);
	int length = ASN1_STRING_length(value);
	char name[NAME_MAX_LENGTH + 1];

	if (length <= 0 || length > NAME_MAX_LENGTH)
		return;
	for (int i = 0; i < length; i++) {
		if (bytes[i] <= ' ' || bytes[i] > '~')
			return;
		name[i] = (char)tolower(bytes[i]);
	}
	name[length] = '\0';
	strings_add(names, name);
}

static void add_address(struct strings *names, const ASN1_OCTET_STRING *value)
{
	int length = ASN1_STRING_length(value);
	char text[INET6_ADDRSTRLEN];

	if ((length == 4 || length == 16) &&
	    inet_ntop(length == 4 ? AF_INET : AF_INET6, ASN1_STRING_get0_data(value), text,
		sizeof(text)) != NULL)
		strings_add(names, text);
}

/* Those of subjectAltName, which alone count for clients; without any, the common name serves for SNI. */
static void read_names(struct strings *names, const X509 *leaf)
{
	GENERAL_NAMES *found = X509_get_ext_d2i(leaf, NID_subject_alt_name, NULL, NULL);
	const X509_NAME *subject = X509_get_subject_name(leaf);
	int common;

	for (int i = 0; i < sk_GENERAL_NAME_num(found); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(found, i);

		if (name->type == GEN_DNS)
			add_name(names, name->d.dNSName);
		else if (name->type == GEN_IPADD)
			add_address(names, name->d.iPAddress);
	}
	GENERAL_NAMES_free(found);
	common = X509_NAME_get_index_by_NID(subject, NID_commonName, -1);
	if (names->count == 0 && common >= 0)
		add_name(names, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(subject, common)));
}

bool tls_certificate_matches(
    const struct tls_certificate *certificate, const char *name, bool is_exact)
{
	const char *rest = strchr(name, '.');

	for (size_t i = 0; i < certificate->names.count; i++) {
		const char *own = certificate->names.items[i];

		if (is_exact ? strcasecmp(own, name) == 0
			     : strncmp(own, "*.", 2) == 0 && rest != NULL && rest != name &&
				   strcasecmp(own + 1, rest) == 0)
			return true;
	}
	return false;
}

/* --- checks --- */

/* What TLS clients know: they do not negotiate other curves and algorithms. */
static int check_key_kind(const char *file, EVP_PKEY *key, struct error *error)
{
	static const char *const curves[] = { "prime256v1", "secp384r1", "secp521r1" };
	char curve[80] = "";
	size_t length;

	if (EVP_PKEY_is_a(key, "ED25519") || EVP_PKEY_is_a(key, "ED448"))
		return 0;
	if (EVP_PKEY_is_a(key, "RSA") || EVP_PKEY_is_a(key, "RSA-PSS")) {
		if (EVP_PKEY_get_bits(key) >= RSA_BITS_MIN)
			return 0;
		return error_set(error,
		    "the RSA key of the certificate in %s has %d bits only (expected %d or more, or "
		    "an EC key on P-256)",
		    file, EVP_PKEY_get_bits(key), RSA_BITS_MIN);
	}
	if (!EVP_PKEY_is_a(key, "EC"))
		return error_set(error,
		    "the key of the certificate in %s is of a kind that TLS has no use for "
		    "(expected EC on P-256, or RSA of %d bits or more)",
		    file, RSA_BITS_MIN);
	if (EVP_PKEY_get_group_name(key, curve, sizeof(curve), &length) == 1)
		for (size_t i = 0; i < sizeof(curves) / sizeof(curves[0]); i++)
			if (strcmp(curve, curves[i]) == 0)
				return 0;
	return error_set(error,
	    "the key of the certificate in %s is on the curve %s, which TLS clients do not know "
	    "(expected P-256, P-384 or P-521)",
	    file, *curve == '\0' ? "?" : curve);
}

static int check_key(const char *file, const struct tls_pem *pem, const char *key_file,
    const struct tls_pem *key, struct error *error)
{
	bool is_same = strcmp(file, key_file) == 0;
	int count = sk_X509_num(pem->certificates);

	if (key->is_encrypted)
		return error_key(error, "key",
		    "the private key in %s is encrypted by a passphrase, for which echod does not ask "
		    "(openssl pkey -in %s -out NEW-FILE removes it)",
		    key_file, key_file);
	if (key->key == NULL)
		return error_key(error, "key",
		    is_same ? "there is no private key in %s (add the file of the key)"
			    : "there is no private key in %s",
		    key_file);
	if (X509_check_private_key(sk_X509_value(pem->certificates, 0), key->key) == 1)
		return 0;
	for (int i = 1; i < count; i++)
		if (X509_check_private_key(sk_X509_value(pem->certificates, i), key->key) == 1)
			return error_key(error, "key",
			    "the private key in %s belongs to certificate %d in %s (put that "
			    "certificate first, and behind it its issuers)",
			    key_file, i + 1, file);
	return error_key(error, "key",
	    is_same ? "the private key in %s does not belong to its certificate"
		    : "the private key in %s does not belong to the certificate in %s",
	    key_file, file);
}

int tls_certificate_init(struct tls_certificate *certificate, const char *file,
    const struct tls_pem *pem, const char *key_file, const struct tls_pem *key, struct error *error)
{
	EVP_PKEY *public;
	X509 *leaf;
	int result = -1;

	*certificate = (struct tls_certificate){ 0 };
	if (sk_X509_num(pem->certificates) == 0)
		return error_set(error,
		    "there is no certificate in %s (expected -----BEGIN CERTIFICATE-----)", file);
	leaf = sk_X509_value(pem->certificates, 0);
	if ((public = X509_get0_pubkey(leaf)) == NULL)
		error_set(error, "the key of the certificate in %s is not known to OpenSSL", file);
	else if (check_key_kind(file, public, error) == 0)
		result = check_key(file, pem, key_file, key, error);
	ERR_clear_error();
	if (result == -1)
		return -1;
	X509_up_ref(leaf);
	EVP_PKEY_up_ref(key->key);
	certificate->leaf = leaf;
	certificate->key = key->key;
	certificate->file = strdup(file);
	certificate->chain = X509_chain_up_ref(pem->certificates);
	if (certificate->chain != NULL)
		X509_free(sk_X509_shift(certificate->chain));
	read_names(&certificate->names, leaf);
	certificate->not_before = tls_time(X509_get0_notBefore(leaf));
	certificate->not_after = tls_time(X509_get0_notAfter(leaf));
	ERR_clear_error();
	if (certificate->file != NULL && certificate->chain != NULL && !certificate->names.lost)
		return 0;
	tls_certificate_clear(certificate);
	return error_memory(error);
}

void tls_certificate_clear(struct tls_certificate *certificate)
{
	free(certificate->file);
	X509_free(certificate->leaf);
	sk_X509_pop_free(certificate->chain, X509_free);
	EVP_PKEY_free(certificate->key);
	strings_clear(&certificate->names);
	*certificate = (struct tls_certificate){ 0 };
}

/* --- warnings --- */

int tls_certificate_warn(const struct tls_certificate *certificate, struct error *error)
{
	X509 *below = certificate->leaf;
	char issuer[TLS_SUBJECT_MAX], subject[TLS_SUBJECT_MAX];
	int count = sk_X509_num(certificate->chain);

	for (int i = 0; i < count; i++) {
		X509 *above = sk_X509_value(certificate->chain, i);

		if (X509_check_issued(above, below) != X509_V_OK)
			return error_set(error,
			    "%s: certificate %d (%s) is not the issuer of certificate %d, which is "
			    "%s; clients may not trust it (expected the server's certificate, and "
			    "behind it each one's issuer)",
			    certificate->file, i + 2,
			    tls_subject(X509_get_subject_name(above), subject), i + 1,
			    tls_subject(X509_get_issuer_name(below), issuer));
		below = above;
	}
	if (X509_get_ext_by_NID(certificate->leaf, NID_subject_alt_name, -1) < 0)
		return error_set(error,
		    "%s: the certificate has no subjectAltName; clients do not accept its name",
		    certificate->file);
	return 0;
}

int tls_certificate_check_time(
    const struct tls_certificate *certificate, time_t now, struct error *error)
{
	time_t left = certificate->not_after - now;
	/* Certificates that are valid for a few days are renewed in the last third of them. */
	time_t lifetime = certificate->not_after - certificate->not_before;
	time_t notice = lifetime / 3 < EXPIRY_NOTICE ? lifetime / 3 : EXPIRY_NOTICE;
	char date[TLS_DATE_MAX];

	if (now < certificate->not_before)
		return error_set(error,
		    "the certificate in %s is not valid before %s; clients refuse it (correct the "
		    "clock, or replace the certificate)",
		    certificate->file, tls_date(certificate->not_before, date));
	if (left < 0)
		return error_set(error,
		    "the certificate in %s has expired at %s; clients refuse it (renew it)",
		    certificate->file, tls_date(certificate->not_after, date));
	if (left > notice)
		return 0;
	if (left < DAY)
		return error_set(error,
		    "the certificate in %s expires at %s, within a day (renew it)",
		    certificate->file, tls_date(certificate->not_after, date));
	return error_set(error, "the certificate in %s expires at %s, in %d day%s (renew it)",
	    certificate->file, tls_date(certificate->not_after, date), (int)(left / DAY),
	    left / DAY == 1 ? "" : "s");
}
