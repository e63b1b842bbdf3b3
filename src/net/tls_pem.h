/*
 * A PEM file of the TLS settings: its certificates, CRLs and private key, and what tells later whether it has changed.
 * The file is read once and parsed from memory, so that all parts are of the same content. The reader owns the parts.
 */
#ifndef ECHOD_NET_TLS_PEM_H
#define ECHOD_NET_TLS_PEM_H

#include <openssl/types.h>
#include <openssl/x509.h>
#include <stdbool.h>
#include <sys/stat.h>
#include <time.h>

struct error;

#define TLS_DIGEST 32 /* bytes of SHA-256 */

/* What stat(2) says of a file; zeroes = there is no file. */
struct tls_stamp {
	dev_t device;
	ino_t inode;
	off_t size;
	struct timespec modified, changed;
};

struct tls_pem {
	struct tls_stamp stamp;
	unsigned char digest[TLS_DIGEST]; /* of the whole file */
	STACK_OF(X509) * certificates;    /* in the order of the file */
	STACK_OF(X509_CRL) * crls;
	EVP_PKEY *key;     /* the first one; NULL = there is none, or it is encrypted */
	bool is_encrypted; /* the key needs a passphrase; a daemon cannot ask for it */
};

/*
 * Reads and parses the file, as the user that the process is now. Refuses what is no PEM, a file that others can
 * write to, and a private key that others can read. 0, or -1 with an error that names the file.
 */
int tls_pem_read(struct tls_pem *pem, const char *path, struct error *error);
/* Frees the parts; zeroes are fine. */
void tls_pem_clear(struct tls_pem *pem);

void tls_stamp_get(struct tls_stamp *stamp, const char *path);
bool tls_stamp_equal(const struct tls_stamp *a, const struct tls_stamp *b);

#endif
