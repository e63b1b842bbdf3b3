/*
 * The client owns its connection of OpenSSL. Whatever fails in the daemon, what it sends are records, and nothing but an
 * alert or the end of the connection ends them.
 */
#include "tls_client.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdbool.h>
#include <string.h>

#include "../fuzz/fuzz.h"

struct tls_client {
	SSL *ssl;
	const char *said; /* NULL = it is */
	bool heard;       /* some data */
};

struct tls_client *tls_client_new(int fd, const char *said)
{
	static SSL_CTX *context;
	struct tls_client *client = calloc(1, sizeof(*client));
	char none[1];

	if (context == NULL)
		context = SSL_CTX_new(TLS_client_method());
	require(client != NULL && context != NULL);
	client->ssl = SSL_new(context);
	client->said = said;
	require(client->ssl != NULL && SSL_set_fd(client->ssl, fd) == 1);
	tls_client_receive(client, none, 0);
	return client;
}

void tls_client_free(struct tls_client *client)
{
	if (client == NULL)
		return;
	SSL_free(client->ssl);
	free(client);
}

/*
 * What a call that has failed would be as a recv(2). An alert of a handshake may be unreadable, even for a client that has
 * ended its own half: OpenSSL encrypts it with the keys that it has failed to make. It must not be plain text of the
 * service, and behind the first data nothing is unreadable.
 */
static ssize_t tls_client_result(const struct tls_client *client, int result)
{
	int kind = SSL_get_error(client->ssl, result), reason = ERR_GET_REASON(ERR_peek_error());

	errno = EAGAIN;
	if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE)
		return -1;
	if (kind == SSL_ERROR_SSL && !client->heard)
		require(reason != SSL_R_WRONG_VERSION_NUMBER);
	else if (kind == SSL_ERROR_SSL)
		require(
		    reason == SSL_R_UNEXPECTED_EOF_WHILE_READING || reason > SSL_AD_REASON_OFFSET);
	return 0;
}

ssize_t tls_client_receive(struct tls_client *client, char *to, size_t size)
{
	SSL *ssl = client->ssl;
	size_t n;
	int result;

	ERR_clear_error();
	if (client->said != NULL) {
		if ((result = SSL_connect(ssl)) != 1)
			return tls_client_result(client, result);
		if (*client->said != '\0')
			SSL_write(ssl, client->said, (int)strlen(client->said));
		client->said = NULL;
		SSL_shutdown(ssl);
		ERR_clear_error();
	}
	result = SSL_read_ex(ssl, to, size, &n);
	if (result != 1)
		return tls_client_result(client, result);
	client->heard = true;
	return (ssize_t)n;
}
