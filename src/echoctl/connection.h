/*
 * A client's socket, connected to the first endpoint of an address that takes it, and TLS over it if the address says
 * so. The other files of echoctl see one stream of bytes.
 */
#ifndef ECHOD_ECHOCTL_CONNECTION_H
#define ECHOD_ECHOCTL_CONNECTION_H

#include <poll.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "net/endpoint.h"

struct announcement;
struct tls_client;
struct tls_options;
struct waiting;

struct connection {
	int fd;                 /* non-blocking */
	struct tls_client *tls; /* NULL = the bytes go over the socket as they are */
	struct address address;
	char peer[ADDRESS_TEXT_MAX]; /* the endpoint in use, as text */
	const struct endpoint *endpoint;

	const struct announcement *announcement; /* or NULL */
	struct endpoints endpoints;
	size_t next; /* endpoint to try */
	int64_t patience;
};

/*
 * Parses the address and connects, waiting at most `patience` (microseconds) for each of its endpoints, including the
 * TLS handshake. `tls` = NULL: no options for TLS. STATUS_OK, or another status after a complaint, also if there are
 * such options and the address is without TLS. connection_close() is due in any case. The connection must not be moved.
 */
int connection_open(struct connection *connection, const char *address, int64_t patience,
    const struct tls_options *tls);

/*
 * The same, as a proxy does it: over a stream, sends the announcement before anything else, also before TLS. It has to
 * stay as long as the connection; NULL = none.
 */
int connection_open_announced(struct connection *connection, const char *address, int64_t patience,
    const struct tls_options *tls, const struct announcement *announcement);

/*
 * After a datagram has failed with that error, moves on to the next endpoint: only a message shows that nobody
 * listens, or that the host is unreachable. 0, or -1 with that error as errno, and the connection as it was, if the
 * error is not the endpoint's fault or there is no other endpoint.
 */
int connection_next_after(struct connection *connection, int error);

/* As recv(2) of a datagram, without waiting. */
ssize_t connection_receive(const struct connection *connection, void *to, size_t size);

/* Of a stream: as recv(2) and send(2), without waiting and without SIGPIPE. */
ssize_t connection_read(struct connection *connection, void *to, size_t size);
ssize_t connection_write(struct connection *connection, const void *bytes, size_t length);

/* Closes our side of a stream. The peer can still be read from. */
void connection_finish(struct connection *connection);

/*
 * As wait_poll(), with the connection as fds[0], whose `fd` is set here. More than 0 may also mean that only TLS has
 * made progress, so that no descriptor has an event.
 */
int connection_poll(
    struct connection *connection, const struct waiting *waiting, struct pollfd *fds, nfds_t count);

void connection_close(struct connection *connection);

/* As strerror(3), after a failure of the connection. */
const char *connection_strerror(const struct connection *connection, int error);

/* Says what went wrong with the address, and returns the status for that errno. */
int connection_complain(const struct connection *connection, int error);

#endif
