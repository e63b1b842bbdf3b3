/*
 * Pins and the verification of certificates, by OpenSSL. What is wrong with a certificate is put into words in
 * verify_cb, because only there it is known.
 */
#include "echoctl/tls_trust.h"

#include <arpa/inet.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "core/log_escape.h"

#define PIN_BASE64 44
#define PIN_TEXT (sizeof("sha256/") + PIN_BASE64)
#define NAMES_SHOWN 3
#define NAME_SHOWN 128

/* --- pins --- */

static bool parse_hex_pin(unsigned char pin[TLS_PIN_BYTES], const char *digits)
{
	static const char hex[] = "0123456789abcdefABCDEF";
	char pair[3] = "";

	if (strlen(digits) != 2 * TLS_PIN_BYTES || strspn(digits, hex) != 2 * TLS_PIN_BYTES)
		return false;
	for (size_t i = 0; i < TLS_PIN_BYTES; i++) {
		memcpy(pair, digits + 2 * i, 2);
		pin[i] = (unsigned char)strtoul(pair, NULL, 16);
	}
	return true;
}

static void format_pin(const unsigned char pin[TLS_PIN_BYTES], char text[PIN_TEXT])
{
	strcpy(text, "sha256/");
	EVP_EncodeBlock((unsigned char *)text + strlen(text), pin, TLS_PIN_BYTES);
}

bool tls_trust_set_pin(struct tls_trust *trust, const char *text)
{
	/* EVP_DecodeBlock() also decodes the padding. */
	unsigned char bytes[PIN_BASE64 / 4 * 3];
	char again[PIN_TEXT];

	trust->is_pinned = true;
	if (strncmp(text, "sha256:", strlen("sha256:")) == 0)
		return parse_hex_pin(trust->pin, text + strlen("sha256:"));
	if (strncmp(text, "sha256/", strlen("sha256/")) != 0 || strlen(text) != PIN_TEXT - 1 ||
	    EVP_DecodeBlock(bytes, (const unsigned char *)text + strlen("sha256/"), PIN_BASE64) !=
		sizeof(bytes))
		return false;
	memcpy(trust->pin, bytes, TLS_PIN_BYTES);
	format_pin(trust->pin, again);
	return strcmp(text, again) == 0; /* it also ignores white space, and misplaced padding */
}

/* The digest of the public key with its algorithm (SubjectPublicKeyInfo), as in RFC 7469. */
static bool digest_key(const X509 *certificate, unsigned char pin[TLS_PIN_BYTES])
{
	unsigned char *der = NULL;
	int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
	bool done =
	    length > 0 && EVP_Digest(der, (size_t)length, pin, NULL, EVP_sha256(), NULL) == 1;

	OPENSSL_free(der);
	return done;
}

/* --- what is wrong with a certificate --- */

static void add_name(char *names, size_t size, const void *bytes, size_t length)
{
	char shown[NAME_SHOWN];

	log_escape(shown, sizeof(shown), bytes, length);
	snprintf(names + strlen(names), size - strlen(names), "%s\"%s\"",
	    *names == '\0' ? "" : ", ", shown);
}

static void add_alternative_name(char *names, size_t size, const GENERAL_NAME *name)
{
	char address[INET6_ADDRSTRLEN];
	const ASN1_STRING *text;

	if (name->type == GEN_DNS) {
		text = name->d.dNSName;
		add_name(
		    names, size, ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text));
	} else if (name->type == GEN_IPADD) {
		text = name->d.iPAddress;
		if (inet_ntop(ASN1_STRING_length(text) == 4 ? AF_INET : AF_INET6,
			ASN1_STRING_get0_data(text), address, sizeof(address)) != NULL)
			add_name(names, size, address, strlen(address));
	}
}

static void add_common_name(char *names, size_t size, const X509_NAME *name)
{
	int at = X509_NAME_get_index_by_NID(name, NID_commonName, -1);
	const ASN1_STRING *text;

	if (at < 0)
		return;
	text = X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at));
	add_name(names, size, ASN1_STRING_get0_data(text), (size_t)ASN1_STRING_length(text));
}

/* The names that a certificate is for: the first ones, quoted. */
static void list_names(const X509 *certificate, char *names, size_t size)
{
	GENERAL_NAMES *all = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);

	*names = '\0';
	for (int i = 0; i < sk_GENERAL_NAME_num(all); i++) {
		if (i == NAMES_SHOWN) {
			snprintf(names + strlen(names), size - strlen(names), ", ...");
			break;
		}
		add_alternative_name(names, size, sk_GENERAL_NAME_value(all, i));
	}
	GENERAL_NAMES_free(all);
	if (*names == '\0')
		add_common_name(names, size, X509_get_subject_name(certificate));
	if (*names == '\0')
		snprintf(names, size, "nobody");
}

static const char *format_time(const ASN1_TIME *time, char *text, size_t size)
{
	struct tm tm;

	if (ASN1_TIME_to_tm(time, &tm) != 1 || strftime(text, size, "%F %T UTC", &tm) == 0)
		snprintf(text, size, "an unknown date");
	return text;
}

static void explain_certificate(struct tls_trust *trust, X509_STORE_CTX *store, const char *pin)
{
	const X509 *leaf = X509_STORE_CTX_get0_cert(store);
	const X509 *wrong = X509_STORE_CTX_get_current_cert(store);
	const char *whose = X509_STORE_CTX_get_error_depth(store) == 0 ? "" : " of its CA";
	int code = X509_STORE_CTX_get_error(store);
	char names[NAMES_SHOWN * (NAME_SHOWN + 4) + 8] = "", date[40];

	if (wrong == NULL)
		wrong = leaf;
	switch (code) {
	case X509_V_ERR_HOSTNAME_MISMATCH:
	case X509_V_ERR_IP_ADDRESS_MISMATCH:
		list_names(leaf, names, sizeof(names));
		error_set(&trust->refusal,
		    "the certificate is for %s, not for \"%s\" (use its name, or --pin %s)", names,
		    trust->host, pin);
		break;
	case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
		error_set(&trust->refusal,
		    "self-signed certificate: if you expect it, trust it by --ca FILE or --pin %s",
		    pin);
		break;
	case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
	case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
	case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
		add_common_name(names, sizeof(names), X509_get_issuer_name(wrong));
		error_set(&trust->refusal,
		    "the certificate is signed by %s, which is not trusted here: if you expect it, "
		    "trust it by --ca FILE or --pin %s",
		    *names == '\0' ? "a CA without a name" : names, pin);
		break;
	case X509_V_ERR_CERT_HAS_EXPIRED:
		error_set(&trust->refusal,
		    "the certificate%s has expired on %s: renew it, or use --pin %s", whose,
		    format_time(X509_get0_notAfter(wrong), date, sizeof(date)), pin);
		break;
	case X509_V_ERR_CERT_NOT_YET_VALID:
		error_set(&trust->refusal,
		    "the certificate%s is not valid before %s: is the clock of this machine right?",
		    whose, format_time(X509_get0_notBefore(wrong), date, sizeof(date)));
		break;
	default:
		error_set(&trust->refusal, "the certificate%s cannot be verified: %s", whose,
		    X509_verify_cert_error_string(code));
	}
}

/* --- verification --- */

/* In place of X509_verify_cert(). */
static int verify_cb(X509_STORE_CTX *store, void *data)
{
	struct tls_trust *trust = data;
	unsigned char seen[TLS_PIN_BYTES];
	char pin[PIN_TEXT];

	if (!digest_key(X509_STORE_CTX_get0_cert(store), seen)) {
		X509_STORE_CTX_set_error(store, X509_V_ERR_OUT_OF_MEM);
		return 0;
	}
	format_pin(seen, pin);
	if (!trust->is_pinned) {
		if (X509_verify_cert(store) == 1)
			return 1;
		explain_certificate(trust, store, pin);
		return 0;
	}
	if (memcmp(seen, trust->pin, TLS_PIN_BYTES) == 0)
		return 1;
	error_set(&trust->refusal,
	    "the key of the server is not the one of --pin, but %s: it was renewed, or this is "
	    "another server",
	    pin);
	X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
	return 0;
}

void tls_trust_start(struct tls_trust *trust, SSL_CTX *context)
{
	SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
	SSL_CTX_set_cert_verify_callback(context, verify_cb, trust);
}

int tls_trust_set_host(struct tls_trust *trust, SSL *ssl, const struct address *address)
{
	const char *host = address->host == NULL ? "localhost" : address->host;
	size_t length = strcspn(host, "%");
	X509_VERIFY_PARAM *parameters = SSL_get0_param(ssl);

	if (address->is_name && length > 0 && host[length - 1] == '.')
		length--;
	snprintf(trust->host, sizeof(trust->host), "%.*s", (int)length, host);
	if (X509_VERIFY_PARAM_set1_ip_asc(parameters, trust->host) == 1)
		return 0;
	SSL_set_hostflags(ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
	if (SSL_set1_host(ssl, trust->host) != 1 || SSL_set_tlsext_host_name(ssl, trust->host) != 1)
		return -1;
	return 0;
}
