/* The certificate lives in the file alone. */
#include "certificate.h"

#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <sys/stat.h>

#include "fuzz.h"

#define DAY 86400

void certificate_write(const char *path)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *certificate = X509_new();
	FILE *file;

	X509_set_version(certificate, X509_VERSION_3);
	X509_gmtime_adj(X509_getm_notBefore(certificate), -DAY);
	X509_gmtime_adj(X509_getm_notAfter(certificate), 90L * DAY);
	X509_set_pubkey(certificate, key);
	X509_NAME_add_entry_by_txt(X509_get_subject_name(certificate), "CN", MBSTRING_UTF8,
	    (const unsigned char *)"localhost", -1, -1, 0);
	require(X509_sign(certificate, key, EVP_sha256()) > 0);
	file = fopen(path, "w");
	require(file != NULL && fchmod(fileno(file), 0600) == 0);
	require(PEM_write_X509(file, certificate) == 1);
	require(PEM_write_PrivateKey(file, key, NULL, NULL, 0, NULL, NULL) == 1);
	fclose(file);
	X509_free(certificate);
	EVP_PKEY_free(key);
}
