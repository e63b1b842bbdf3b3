/*
 * Whom a client certificate names. The name is used as it is in the log, in the environment of programs and to look
 * up rights, so a name that is too long, or of other characters than visible ASCII, is none.
 */
#ifndef ECHOD_NET_TLS_IDENTITY_H
#define ECHOD_NET_TLS_IDENTITY_H

#include <stdbool.h>

struct ssl_st;
struct x509_st;

#define TLS_NAME_MAX 256       /* with "dns:" and NUL */
#define TLS_FINGERPRINT_MAX 72 /* "sha256:", 64 digits, NUL */

struct tls_identity {
	/* "dns:NAME" in lower case, or "uri:URI": the first of them among its alternative names; "" = there is none. */
	char name[TLS_NAME_MAX];
	/* "sha256:HEX", of its public key (SubjectPublicKeyInfo): the same when it is renewed with the same key. */
	char fingerprint[TLS_FINGERPRINT_MAX];
};

/* The name; if there is none, the fingerprint. */
static inline const char *tls_identity_text(const struct tls_identity *identity)
{
	return *identity->name != '\0' ? identity->name : identity->fingerprint;
}

/* After the handshake. False = the client has shown no certificate, or none that was verified. */
bool tls_identity_get(struct tls_identity *identity, const struct ssl_st *ssl);

/* The same of a certificate. False when out of memory. */
bool tls_identity_read(struct tls_identity *identity, const struct x509_st *certificate);

#endif
