/* In place of tls_client.c where OpenSSL is not there: no client can be made, so nothing else is ever called. */
#include <stddef.h>

#include "echoctl/echoctl.h"
#include "echoctl/tls_client.h"
#include "net/address.h"

int tls_client_new(
    struct tls_client **to, const struct address *address, const struct tls_options *options)
{
	(void)options;
	*to = NULL;
	complain(
	    "%s: this echoctl was built without OpenSSL and does not speak TLS", address->text);
	return STATUS_NO;
}

void tls_client_free(struct tls_client *tls)
{
	(void)tls;
}

int tls_client_handshake(struct tls_client *tls, int fd, const struct waiting *waiting)
{
	(void)tls, (void)fd, (void)waiting;
	return -1;
}

const char *tls_client_error(const struct tls_client *tls)
{
	(void)tls;
	return NULL;
}

ssize_t tls_client_read(struct tls_client *tls, void *to, size_t size)
{
	(void)tls, (void)to, (void)size;
	return -1;
}

ssize_t tls_client_write(struct tls_client *tls, const void *bytes, size_t length)
{
	(void)tls, (void)bytes, (void)length;
	return -1;
}

void tls_client_finish(struct tls_client *tls)
{
	(void)tls;
}

int tls_client_poll(
    struct tls_client *tls, const struct waiting *waiting, struct pollfd *fds, nfds_t count)
{
	(void)tls, (void)waiting, (void)fds, (void)count;
	return -1;
}
