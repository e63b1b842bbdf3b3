/*
 * A server's certificate with its chain and its private key, checked, and the names that it is for. The owner of the
 * struct clears it.
 */
#ifndef ECHOD_NET_TLS_CERTIFICATE_H
#define ECHOD_NET_TLS_CERTIFICATE_H

#include <openssl/types.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "core/strings.h"

struct error;
struct tls_pem;

struct tls_certificate {
	char *file;
	X509 *leaf;
	STACK_OF(X509) * chain; /* the issuers, without the leaf */
	EVP_PKEY *key;
	struct strings names; /* DNS names, in lower case, and addresses */
	time_t not_before, not_after;
};

/*
 * Makes a certificate of a PEM file that begins with it, and of the file of its key, which may be the same (the names of
 * both are for errors). 0, or -1 with an error, whose key is "key" if that is wrong.
 */
int tls_certificate_init(struct tls_certificate *certificate, const char *file,
    const struct tls_pem *pem, const char *key_file, const struct tls_pem *key,
    struct error *error);
void tls_certificate_clear(struct tls_certificate *certificate);

/* What is unwise and does not change with time: 0, or -1 with an error. */
int tls_certificate_warn(const struct tls_certificate *certificate, struct error *error);

/* The same for its validity: that it has expired or soon will, or is not valid yet. */
int tls_certificate_check_time(
    const struct tls_certificate *certificate, time_t now, struct error *error);

/* Whether one of its names is that name: with `is_exact` in full, else by a wildcard for its first label. */
bool tls_certificate_matches(
    const struct tls_certificate *certificate, const char *name, bool is_exact);

/* "2026-11-21T01:02:03Z". Returns `to`. */
#define TLS_DATE_MAX 32
const char *tls_date(time_t time, char to[TLS_DATE_MAX]);

/* An end of a validity in seconds since 1970. */
time_t tls_time(const ASN1_TIME *time);

/* The subject of a certificate, or the issuer of a CRL, for a message. Returns `to`. */
#define TLS_SUBJECT_MAX 128
const char *tls_subject(const X509_NAME *name, char to[TLS_SUBJECT_MAX]);

#endif
