/*
 * TLS over a connected socket, as a client. The certificate of the server is verified during the handshake, so that
 * nothing is sent to a server that is not the one addressed. Only tls_client.c and tls_trust.c know OpenSSL; where it
 * is not there, tls_client_absent.c takes their place.
 */
#ifndef ECHOD_ECHOCTL_TLS_CLIENT_H
#define ECHOD_ECHOCTL_TLS_CLIENT_H

#include <poll.h>
#include <stddef.h>
#include <sys/types.h>

struct address;
struct tls_client;
struct waiting;

/* The options of the command line; NULL = not given. */
struct tls_options {
	const char *ca; /* file of trusted certificates, instead of those of the system */
	const char
	    *cert; /* file of the client's certificate, and of its key if there is no `key` */
	const char *key;
	const char *pin; /* digest of the server's key: "sha256/BASE64" or "sha256:HEX" */
};

/*
 * Reads the files, and prepares a handshake with a server at that address, which must stay where it is. STATUS_OK, or
 * another status after a complaint, and then *to is NULL. The caller calls tls_client_free().
 */
int tls_client_new(
    struct tls_client **to, const struct address *address, const struct tls_options *options);

/* Says goodbye if that needs no waiting. Does not close the socket. NULL is no client. */
void tls_client_free(struct tls_client *tls);

/* The handshake over this non-blocking socket, until the deadline. 0, or -1 with errno and tls_client_error(). */
int tls_client_handshake(struct tls_client *tls, int fd, const struct waiting *waiting);

/* What has failed, as part of a sentence; NULL = nothing, or only what errno says. */
const char *tls_client_error(const struct tls_client *tls);

/* As recv(2) and send(2) of a non-blocking socket. 0 is the end of which the peer has assured us. */
ssize_t tls_client_read(struct tls_client *tls, void *to, size_t size);
ssize_t tls_client_write(struct tls_client *tls, const void *bytes, size_t length);

/* Sends close_notify, now or in tls_client_poll(). The peer can still be read from. */
void tls_client_finish(struct tls_client *tls);

/* As wait_poll(), with our socket as fds[0]: POLLIN and POLLOUT are about the bytes inside of TLS. */
int tls_client_poll(
    struct tls_client *tls, const struct waiting *waiting, struct pollfd *fds, nfds_t count);

#endif
