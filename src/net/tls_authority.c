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

int tls_authority_check_crl(
    X509 *authority, const STACK_OF(X509_CRL) * crls, const char *file, struct error *error)
{
	char subject[TLS_SUBJECT_MAX];

	if (X509_check_ca(authority) == 0)
		return 0; /* it issues nothing that could be revoked */
	for (int i = 0; i < sk_X509_CRL_num(crls); i++)
		if (is_issuer(authority, sk_X509_CRL_value(crls, i)))
			return 0;
	return error_set(error,
	    "there is no CRL of %s in %s; all clients of this authority are refused (add its CRL)",
	    tls_subject(X509_get_subject_name(authority), subject), file);
}

static bool has_expired(const X509_CRL *crl, time_t now)
{
	const ASN1_TIME *next = X509_CRL_get0_nextUpdate(crl);

	return next != NULL && tls_time(next) < now;
}

/* Whether one of the same authority has not. */
static bool is_replaced(const X509_CRL *crl, const STACK_OF(X509_CRL) * crls, time_t now)
{
	for (int i = 0; i < sk_X509_CRL_num(crls); i++) {
		const X509_CRL *other = sk_X509_CRL_value(crls, i);

		if (X509_NAME_cmp(X509_CRL_get_issuer(crl), X509_CRL_get_issuer(other)) == 0 &&
		    !has_expired(other, now))
			return true;
	}
	return false;
}

int tls_crl_check_time(const X509_CRL *crl, const STACK_OF(X509_CRL) * crls, const char *file,
    time_t now, struct error *error)
{
	char issuer[TLS_SUBJECT_MAX], date[TLS_DATE_MAX];

	if (!has_expired(crl, now) || is_replaced(crl, crls, now))
		return 0;
	return error_set(error,
	    "the CRL of %s in %s has expired at %s; all clients of this authority are refused "
	    "(renew it)",
	    tls_subject(X509_CRL_get_issuer(crl), issuer), file,
	    tls_date(tls_time(X509_CRL_get0_nextUpdate(crl)), date));
}
