/* OpenSSL would only refuse the clients, and the log would not say that the authority is the reason. */
#include "net/tls_authority.h"

#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <stdbool.h>

#include "core/error.h"
#include "net/tls_certificate.h"

int tls_authority_check(X509 *authority, const char *file, time_t now, struct error *error)
{
	time_t end = tls_time(X509_get0_notAfter(authority));
	char subject[TLS_SUBJECT_MAX], date[TLS_DATE_MAX];

	tls_subject(X509_get_subject_name(authority), subject);
	if (end < now)
		return error_set(error,
		    "%s: the certificate of %s has expired at %s; clients of this authority are "
		    "refused (renew it)",
		    file, subject, tls_date(end, date));
	if (X509_check_ca(authority) == 0)
		return error_set(error,
		    "%s: %s is not the certificate of an authority; only a client with this very "
		    "certificate is let in by it",
		    file, subject);
	return 0;
}

static bool is_issuer(X509 *authority, X509_CRL *crl)
{
	bool result =
	    X509_NAME_cmp(X509_get_subject_name(authority), X509_CRL_get_issuer(crl)) == 0 &&
	    X509_CRL_verify(crl, X509_get0_pubkey(authority)) == 1;

	ERR_clear_error();
	return result;
}

int tls_crl_check(
    X509_CRL *crl, const char *file, const STACK_OF(X509) * authorities, struct error *error)
{
	char issuer[TLS_SUBJECT_MAX];

	for (int i = 0; i < sk_X509_num(authorities); i++)
		if (is_issuer(sk_X509_value(authorities, i), crl))
			return 0;
	return error_set(error, "%s: the CRL of %s is by none of the authorities in client_ca",
	    file, tls_subject(X509_CRL_get_issuer(crl), issuer));
}

int tls_crl_check_time(const X509_CRL *crl, const char *file, time_t now, struct error *error)
{
	const ASN1_TIME *next = X509_CRL_get0_nextUpdate(crl);
	char issuer[TLS_SUBJECT_MAX], date[TLS_DATE_MAX];

	if (next == NULL || tls_time(next) >= now)
		return 0;
	return error_set(error,
	    "the CRL of %s in %s has expired at %s; all clients of this authority are refused "
	    "(renew it)",
	    tls_subject(X509_CRL_get_issuer(crl), issuer), file, tls_date(tls_time(next), date));
}
