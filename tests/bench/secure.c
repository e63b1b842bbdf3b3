/* OpenSSL, or its absence. */
#include "secure.h"

#include <errno.h>

#include "build.h"

#ifdef HAVE_OPENSSL
#include <openssl/err.h>
#include <openssl/ssl.h>

struct ssl_st *secure_connect(int fd)
{
	static SSL_CTX *context;
	SSL *ssl;

	if (context == NULL && (context = SSL_CTX_new(TLS_client_method())) != NULL) {
		SSL_CTX_set_mode(
		    context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
		/* Servers would choose differently, and be compared by their ciphers. */
		SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
		SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
	}
	ssl = context == NULL ? NULL : SSL_new(context);
	if (ssl != NULL && SSL_set_fd(ssl, fd) == 1 && SSL_connect(ssl) == 1)
		return ssl;
	ERR_print_errors_fp(stderr);
	SSL_free(ssl);
	errno = EPROTO;
	return NULL;
}

void secure_free(struct ssl_st *ssl)
{
	SSL_free(ssl);
}

static ssize_t result_of(SSL *ssl, int n)
{
	int error = SSL_get_error(ssl, n);

	if (error == SSL_ERROR_ZERO_RETURN)
		return 0;
	errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : EPROTO;
	return -1;
}

/* Until nothing is left inside OpenSSL, since epoll would not report that. */
ssize_t secure_receive(struct ssl_st *ssl, char *to, size_t size)
{
	size_t total = 0;
	int n = 1;

	ERR_clear_error();
	while (total < size && (n = SSL_read(ssl, to + total, (int)(size - total))) > 0)
		total += (size_t)n;
	return total > 0 ? (ssize_t)total : result_of(ssl, n);
}

ssize_t secure_send(struct ssl_st *ssl, const char *bytes, size_t length)
{
	int n;

	ERR_clear_error();
	n = SSL_write(ssl, bytes, (int)length);
	return n > 0 ? n : result_of(ssl, n);
}

#else

struct ssl_st *secure_connect(int fd)
{
	(void)fd;
	errno = EPROTONOSUPPORT;
	return NULL;
}

void secure_free(struct ssl_st *ssl)
{
	(void)ssl;
}

ssize_t secure_receive(struct ssl_st *ssl, char *to, size_t size)
{
	(void)ssl, (void)to, (void)size;
	return -1;
}

ssize_t secure_send(struct ssl_st *ssl, const char *bytes, size_t length)
{
	(void)ssl, (void)bytes, (void)length;
	return -1;
}

#endif
