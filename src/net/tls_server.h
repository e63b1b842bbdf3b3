/*
 * The SSL_CTX of a server: protocol versions, ciphers, tickets, client certificates, and the choice of a certificate by
 * the name that a client asks for (SNI). Is not changed once it is made.
 */
#ifndef ECHOD_NET_TLS_SERVER_H
#define ECHOD_NET_TLS_SERVER_H

#include <openssl/types.h>
#include <openssl/x509.h>
#include <stddef.h>

#include "net/tls_certificate.h"

struct error;

/* Zeroed = empty. */
struct tls_certificates {
	struct tls_certificate *items;
	size_t count;
};

void tls_certificates_clear(struct tls_certificates *certificates);

/*
 * The certificate that a client gets that asks for the name (NULL = it asks for none): the first one that has exactly this
 * name, else the first one that has it by a wildcard, else the first of all. There is at least one.
 */
size_t tls_certificates_find(const struct tls_certificates *certificates, const char *name);

struct tls_server_settings {
	int min_version; /* TLS1_2_VERSION or TLS1_3_VERSION */
	const STACK_OF(X509) *
	    authorities; /* that issue client certificates, which are required then; or NULL */
	/* Of theirs, and of the authorities below them; or NULL: revocation is not checked. */
	const STACK_OF(X509_CRL) * crls;
};

/*
 * Takes the certificates over, even when it fails. NULL with an error whose key is "certificate" or "client_ca".
 */
SSL_CTX *tls_server_new(struct tls_certificates *certificates,
    const struct tls_server_settings *settings, struct error *error);

/* Those that it has taken over: they live as long as the SSL_CTX and all its connections. */
const struct tls_certificates *tls_server_certificates(const SSL_CTX *server);

#endif
