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

/* Whether it has a CRL among those of the file, valid or not. */
int tls_authority_check_crl(
    X509 *authority, const STACK_OF(X509_CRL) * crls, const char *file, struct error *error);

/* Whether the CRL, or another one of its authority among all those of the file, has not expired. */
int tls_crl_check_time(const X509_CRL *crl, const STACK_OF(X509_CRL) * crls, const char *file,
    time_t now, struct error *error);

#endif
