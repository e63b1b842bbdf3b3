/* Checks of the authorities that issue client certificates, and of their CRLs. They own nothing. */
#ifndef ECHOD_NET_TLS_AUTHORITY_H
#define ECHOD_NET_TLS_AUTHORITY_H

#include <openssl/types.h>
#include <openssl/x509.h>
#include <time.h>

struct error;

/* Each: 0, or -1 with an error, which is a warning about the file. */

/* Whether clients of the authority can be let in. */
int tls_authority_check(X509 *authority, const char *file, time_t now, struct error *error);

/* Whether one of the authorities has signed the CRL. */
int tls_crl_check(
    X509_CRL *crl, const char *file, const STACK_OF(X509) * authorities, struct error *error);

int tls_crl_check_time(const X509_CRL *crl, const char *file, time_t now, struct error *error);

#endif
