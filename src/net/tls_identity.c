/* Names come from a stranger's certificate: their bytes are counted, never taken for strings. */
#include "net/tls_identity.h"

#include <openssl/err.h>
#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

/* Sets the name, unless it is too long or has other characters than visible ASCII. */
static void set_name(
    struct tls_identity *identity, const char *kind, const ASN1_STRING *value, bool is_folded)
{
	const unsigned char *bytes = ASN1_STRING_get0_data(value);
	int length = ASN1_STRING_length(value);
	size_t at = strlen(kind);

	if (length <= 0 || (size_t)length >= sizeof(identity->name) - at)
		return;
	for (int i = 0; i < length; i++)
		if (bytes[i] <= ' ' || bytes[i] > '~')
			return;
	memcpy(identity->name, kind, at);
	for (int i = 0; i < length; i++) {
		bool is_upper = is_folded && bytes[i] >= 'A' && bytes[i] <= 'Z';

		identity->name[at + (size_t)i] = (char)(is_upper ? bytes[i] | 0x20 : bytes[i]);
	}
	identity->name[at + (size_t)length] = '\0';
}

static void read_name(struct tls_identity *identity, const X509 *certificate)
{
	GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);

	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

		if (name->type == GEN_DNS)
			set_name(identity, "dns:", name->d.dNSName, true);
		else if (name->type == GEN_URI)
			set_name(identity, "uri:", name->d.uniformResourceIdentifier, false);
		else
			continue;
		break;
	}
	GENERAL_NAMES_free(names);
}

bool tls_identity_read(struct tls_identity *identity, const X509 *certificate)
{
	unsigned char *der = NULL, digest[SHA256_DIGEST_LENGTH];
	int length = i2d_X509_PUBKEY(X509_get_X509_PUBKEY(certificate), &der);
	int at = snprintf(identity->fingerprint, sizeof(identity->fingerprint), "sha256:");
	bool done = length > 0 && SHA256(der, (size_t)length, digest) != NULL;

	identity->name[0] = '\0';
	OPENSSL_free(der);
	if (done) {
		for (size_t i = 0; i < sizeof(digest); i++)
			at += snprintf(identity->fingerprint + at, 3, "%02x", digest[i]);
		read_name(identity, certificate);
	}
	ERR_clear_error();
	return done;
}

bool tls_identity_get(struct tls_identity *identity, const SSL *ssl)
{
	const X509 *certificate = SSL_get0_peer_certificate(ssl);

	return certificate != NULL && SSL_get_verify_result(ssl) == X509_V_OK &&
	       tls_identity_read(identity, certificate);
}
