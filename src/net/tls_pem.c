/*
 * A file is bounded in size, must be a regular one, and is read without blocking: its path may lead to anything. Keys
 * are wiped from memory when they have been parsed.
 */
#include "net/tls_pem.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/error.h"

#define FILE_MAX (1024 * 1024) /* bytes; a thousand certificates */

/* --- stamps --- */

static void stamp_set(struct tls_stamp *stamp, const struct stat *st)
{
	*stamp = (struct tls_stamp){
		.device = st->st_dev,
		.inode = st->st_ino,
		.size = st->st_size,
		.modified = st->st_mtim,
		.changed = st->st_ctim,
	};
}

void tls_stamp_get(struct tls_stamp *stamp, const char *path)
{
	struct stat st;

	if (stat(path, &st) == 0)
		stamp_set(stamp, &st);
	else
		*stamp = (struct tls_stamp){ 0 };
}

static bool time_equal(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec == b->tv_sec && a->tv_nsec == b->tv_nsec;
}

bool tls_stamp_equal(const struct tls_stamp *a, const struct tls_stamp *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size &&
	       time_equal(&a->modified, &b->modified) && time_equal(&a->changed, &b->changed);
}

/* --- reading --- */

/* The number of bytes, at most FILE_MAX + 1, or -1 with an error. */
static ssize_t read_bytes(int fd, char *bytes, const char *path, struct error *error)
{
	size_t length = 0;
	ssize_t n;

	while (length <= FILE_MAX && (n = read(fd, bytes + length, FILE_MAX + 1 - length)) != 0) {
		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1)
			return error_errno(error, "cannot read %s", path);
		length += (size_t)n;
	}
	return (ssize_t)length;
}

static int check_file(const struct stat *st, const char *path, struct error *error)
{
	if (!S_ISREG(st->st_mode))
		return error_set(error, "%s is not a regular file", path);
	if (st->st_size > FILE_MAX)
		return error_set(
		    error, "%s is larger than a PEM file may be (%d bytes)", path, FILE_MAX);
	if (st->st_mode & S_IWOTH)
		return error_set(error, "others can write to %s (mode %04o; chmod o-w %s)", path,
		    (unsigned)st->st_mode & 07777, path);
	return 0;
}

/* Reads the file into memory of FILE_MAX + 1 bytes. The number of bytes, or -1 with an error. */
static ssize_t read_file(const char *path, char *bytes, struct stat *st, struct error *error)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	ssize_t length = -1;

	if (fd == -1)
		return error_errno(error, "cannot open %s", path);
	if (fstat(fd, st) == -1)
		error_errno(error, "cannot read %s", path);
	else if (check_file(st, path, error) == 0)
		length = read_bytes(fd, bytes, path, error);
	close(fd);
	if (length > FILE_MAX)
		return error_set(error, "%s grows while it is read", path);
	return length;
}

/* --- parsing --- */

static int broken(const char *path, const char *what, struct error *error)
{
	ERR_clear_error();
	return error_set(
	    error, "%s: %s is broken, or only a part of it has been written", path, what);
}

static bool is_key(const char *name)
{
	static const char suffix[] = "PRIVATE KEY";
	size_t length = strlen(name), end = sizeof(suffix) - 1;

	return length >= end && strcmp(name + length - end, suffix) == 0;
}

static int add_key(struct tls_pem *pem, const char *name, const char *header,
    const unsigned char *der, long length)
{
	if (pem->key != NULL || pem->is_encrypted)
		return 0;
	if (strcmp(name, PEM_STRING_PKCS8) == 0 || strstr(header, "ENCRYPTED") != NULL) {
		pem->is_encrypted = true;
		return 0;
	}
	pem->key = d2i_AutoPrivateKey(NULL, &der, length);
	return pem->key == NULL ? -1 : 0;
}

/* Adds what the block holds, unless it is of no use for TLS. 0, or -1 with an error. */
static int add_block(struct tls_pem *pem, const char *path, const char *name, const char *header,
    const unsigned char *der, long length, struct error *error)
{
	if (is_key(name)) {
		if (add_key(pem, name, header, der, length) == -1)
			return broken(path, "the private key", error);
	} else if (strcmp(name, PEM_STRING_X509) == 0 || strcmp(name, PEM_STRING_X509_OLD) == 0 ||
		   strcmp(name, PEM_STRING_X509_TRUSTED) == 0) {
		X509 *certificate = d2i_X509(NULL, &der, length);

		if (certificate == NULL || sk_X509_push(pem->certificates, certificate) == 0) {
			X509_free(certificate);
			return broken(path, "a certificate", error);
		}
	} else if (strcmp(name, PEM_STRING_X509_CRL) == 0) {
		X509_CRL *crl = d2i_X509_CRL(NULL, &der, length);

		if (crl == NULL || sk_X509_CRL_push(pem->crls, crl) == 0) {
			X509_CRL_free(crl);
			return broken(path, "a CRL", error);
		}
	}
	return 0;
}

static int parse_blocks(struct tls_pem *pem, const char *path, BIO *bio, struct error *error)
{
	char *name, *header;
	unsigned char *der;
	long length;
	int result = 0;
	bool found = false;

	ERR_clear_error();
	while (result == 0 && PEM_read_bio(bio, &name, &header, &der, &length) == 1) {
		found = true;
		result = add_block(pem, path, name, header, der, length, error);
		OPENSSL_free(name);
		OPENSSL_free(header);
		OPENSSL_clear_free(der, (size_t)length);
	}
	if (result == 0 && ERR_GET_REASON(ERR_peek_last_error()) != PEM_R_NO_START_LINE)
		result = broken(path, "its PEM", error);
	else if (result == 0 && !found)
		result = error_set(error,
		    "%s is not in PEM, which begins with a line -----BEGIN ...----- (openssl x509 "
		    "and openssl pkey convert other formats)",
		    path);
	ERR_clear_error();
	return result;
}

static int check_key(
    const struct tls_pem *pem, const char *path, const struct stat *st, struct error *error)
{
	if ((pem->key == NULL && !pem->is_encrypted) || !(st->st_mode & S_IROTH))
		return 0;
	return error_set(error, "others can read the private key in %s (mode %04o; chmod o-rwx %s)",
	    path, (unsigned)st->st_mode & 07777, path);
}

int tls_pem_read(struct tls_pem *pem, const char *path, struct error *error)
{
	char *bytes = malloc(FILE_MAX + 1);
	BIO *bio = NULL;
	ssize_t length;
	struct stat st;

	*pem = (struct tls_pem){
		.certificates = sk_X509_new_null(),
		.crls = sk_X509_CRL_new_null(),
	};
	if (bytes == NULL || pem->certificates == NULL || pem->crls == NULL) {
		error_memory(error);
		goto fail;
	}
	if ((length = read_file(path, bytes, &st, error)) == -1)
		goto fail;
	stamp_set(&pem->stamp, &st);
	if (SHA256((unsigned char *)bytes, (size_t)length, pem->digest) == NULL ||
	    (bio = BIO_new_mem_buf(bytes, (int)length)) == NULL) {
		ERR_clear_error();
		error_memory(error);
		goto fail;
	}
	if (parse_blocks(pem, path, bio, error) == -1 || check_key(pem, path, &st, error) == -1)
		goto fail;
	BIO_free(bio);
	OPENSSL_cleanse(bytes, (size_t)length);
	free(bytes);
	return 0;
fail:
	BIO_free(bio);
	if (bytes != NULL)
		explicit_bzero(bytes, FILE_MAX + 1);
	free(bytes);
	tls_pem_clear(pem);
	return -1;
}

void tls_pem_clear(struct tls_pem *pem)
{
	sk_X509_pop_free(pem->certificates, X509_free);
	sk_X509_CRL_pop_free(pem->crls, X509_CRL_free);
	EVP_PKEY_free(pem->key);
	*pem = (struct tls_pem){ 0 };
}
