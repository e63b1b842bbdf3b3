/*
 * Connecting: every endpoint of an address in turn, each with a deadline. The first one that accepts is the peer, also
 * if its TLS handshake fails: the next one might only hide the reason.
 */
#include "echoctl/connection.h"

#include <errno.h>
#include <grp.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/clock.h"
#include "echoctl/announcement.h"
#include "echoctl/echoctl.h"
#include "echoctl/tls_client.h"
#include "echoctl/wait.h"

#define RETRY_US 20000 /* a Unix stream server with a full backlog does not tell when it has room */

static int set_flag(int fd, int level, int name)
{
	int on = 1;

	return setsockopt(fd, level, name, &on, sizeof(on));
}

static int set_options(int fd, const struct endpoint *endpoint)
{
	static const struct sockaddr_un unnamed = { .sun_family = AF_UNIX };
	bool is_ipv6 = endpoint->any.sa_family == AF_INET6;

	switch (endpoint->transport) {
	case TRANSPORT_TCP:
		return set_flag(fd, IPPROTO_TCP, TCP_NODELAY);
	case TRANSPORT_UDP:
		/* Without this option the kernel reports a refused datagram, but not an unreachable host. */
		if (set_flag(fd, is_ipv6 ? IPPROTO_IPV6 : IPPROTO_IP,
			is_ipv6 ? IPV6_RECVERR : IP_RECVERR) == -1)
			return -1;
		return set_flag(fd, SOL_SOCKET, SO_BROADCAST);
	case TRANSPORT_UNIXGRAM:
		/* Without a name of its own it gets no answer: the kernel makes one up. */
		return bind(
		    fd, (const struct sockaddr *)&unnamed, offsetof(struct sockaddr_un, sun_path));
	case TRANSPORT_UNIX:
		break;
	}
	return 0;
}

static int connect_socket(int fd, const struct endpoint *endpoint, const struct waiting *waiting)
{
	struct pollfd writable = { .fd = fd, .events = POLLOUT };
	struct waiting pause = *waiting;
	socklen_t length = sizeof(int);
	int ready, error;

	while (connect(fd, &endpoint->any, endpoint->length) == -1) {
		if (errno == EINPROGRESS) {
			if ((ready = wait_poll(waiting, &writable, 1)) == 0)
				errno = ETIMEDOUT;
			if (ready != 1 ||
			    getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &length) == -1)
				return -1;
			errno = error;
			return error == 0 ? 0 : -1;
		}
		if (errno != EAGAIN)
			return -1;
		if (clock_us() >= waiting->deadline) {
			errno = ETIMEDOUT;
			return -1;
		}
		pause.deadline = clock_us() + RETRY_US;
		wait_poll(&pause, NULL, 0);
	}
	return 0;
}

/* Connects to the next endpoint that accepts. 0, or -1 with errno, and the connection stays as it is. */
static int connect_next(struct connection *c)
{
	struct waiting waiting = { .what = c->address.text };
	const struct endpoint *endpoint = NULL;
	int fd = -1, saved;

	errno = ECONNREFUSED;
	while (fd == -1 && c->next < c->endpoints.count) {
		endpoint = &c->endpoints.items[c->next++];
		fd = socket(endpoint->any.sa_family,
		    SOCK_NONBLOCK | SOCK_CLOEXEC |
			(transport_is_stream(endpoint->transport) ? SOCK_STREAM : SOCK_DGRAM),
		    0);
		waiting.since = clock_us();
		waiting.deadline = wait_deadline(waiting.since, c->patience);
		if (fd != -1 && (set_options(fd, endpoint) == -1 ||
				    connect_socket(fd, endpoint, &waiting) == -1)) {
			saved = errno;
			close(fd);
			errno = saved;
			fd = -1;
		}
	}
	if (fd == -1)
		return -1;
	if (c->fd != -1)
		close(c->fd);
	c->fd = fd;
	c->endpoint = endpoint;
	endpoint_format(c->endpoint, c->peer, sizeof(c->peer));
	/* The buffer of a new socket takes it whole. */
	if (c->announcement != NULL &&
	    send(fd, c->announcement->bytes, c->announcement->length, MSG_NOSIGNAL) == -1)
		return -1;
	return c->tls == NULL ? 0 : tls_client_handshake(c->tls, fd, &waiting);
}

int connection_next_after(struct connection *c, int error)
{
	const bool own = error == ETIMEDOUT || error == EMSGSIZE || error == EAGAIN;

	if (!own && connect_next(c) == 0)
		return 0;
	errno = error;
	return -1;
}

ssize_t connection_receive(const struct connection *c, void *to, size_t size)
{
	ssize_t n = recv(c->fd, to, size, 0);
	int saved = errno;
	char byte;

	if (n == -1 && c->address.transport == TRANSPORT_UDP)
		while (recv(c->fd, &byte, 1, MSG_ERRQUEUE) != -1)
			continue; /* a queued error makes poll(2) return at once */
	errno = saved;
	return n;
}

ssize_t connection_read(struct connection *c, void *to, size_t size)
{
	return c->tls == NULL ? recv(c->fd, to, size, 0) : tls_client_read(c->tls, to, size);
}

ssize_t connection_write(struct connection *c, const void *bytes, size_t length)
{
	return c->tls == NULL ? send(c->fd, bytes, length, MSG_NOSIGNAL)
			      : tls_client_write(c->tls, bytes, length);
}

void connection_finish(struct connection *c)
{
	if (c->tls == NULL)
		shutdown(c->fd, SHUT_WR);
	else
		tls_client_finish(c->tls);
}

int connection_poll(
    struct connection *c, const struct waiting *waiting, struct pollfd *fds, nfds_t count)
{
	fds[0].fd = c->fd;
	return c->tls == NULL ? wait_poll(waiting, fds, count)
			      : tls_client_poll(c->tls, waiting, fds, count);
}

/* Prepares TLS, if the address is one of TLS. */
static int prepare_tls(struct connection *c, const struct tls_options *tls)
{
	static const struct tls_options none = { 0 };
	bool has_options = tls != NULL && (tls->ca != NULL || tls->cert != NULL ||
					      tls->key != NULL || tls->pin != NULL);

	if (c->address.protocol.tls)
		return tls_client_new(&c->tls, &c->address, tls == NULL ? &none : tls);
	if (!has_options)
		return STATUS_OK;
	complain("%s: --ca, --cert, --key and --pin are for tls:// and rediss:// addresses",
	    c->address.text);
	return STATUS_USAGE;
}

int connection_open(
    struct connection *c, const char *address, int64_t patience, const struct tls_options *tls)
{
	return connection_open_announced(c, address, patience, tls, NULL);
}

int connection_open_announced(struct connection *c, const char *address, int64_t patience,
    const struct tls_options *tls, const struct announcement *announcement)
{
	const char *why;
	int status;

	*c = (struct connection){ .fd = -1, .patience = patience, .announcement = announcement };
	if (parse_address_argument(&c->address, address) == -1)
		return STATUS_USAGE;
	if (announcement != NULL && !transport_is_stream(c->address.transport)) {
		complain("%s: --proxy is for addresses of streams", c->address.text);
		return STATUS_USAGE;
	}
	if ((status = prepare_tls(c, tls)) != STATUS_OK)
		return status;
	if (endpoints_resolve(&c->endpoints, &c->address, &why) == -1) {
		complain("%s: %s", address, why);
		return STATUS_NOBODY;
	}
	return connect_next(c) == 0 ? STATUS_OK : connection_complain(c, errno);
}

void connection_close(struct connection *c)
{
	tls_client_free(c->tls);
	if (c->fd != -1)
		close(c->fd);
	endpoints_clear(&c->endpoints);
	address_clear(&c->address);
}

/* Says who owns the socket, or the directory that hides it, and what to do. */
static void explain_denial(const struct address *address)
{
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path)];
	const struct group *group;
	struct stat st;

	snprintf(path, sizeof(path), "%s", address->path);
	while (stat(path, &st) == -1) {
		char *slash = strrchr(path, '/');

		if (errno != EACCES || slash == NULL || slash == path)
			return;
		*slash = '\0';
	}
	group = getgrgid(st.st_gid);
	if (st.st_uid == 0 && st.st_gid == 0) /* nobody should be told to join that group */
		complain("%s belongs to root: become root", path);
	else if (group == NULL || !(st.st_mode & S_IWGRP || S_ISDIR(st.st_mode)))
		complain("%s belongs to user %d and has mode %04o: become that user, or root", path,
		    (int)st.st_uid, (unsigned)(st.st_mode & 07777));
	else
		complain(
		    "%s belongs to the group %s: join it (as root: usermod -a -G %s USER, then "
		    "log in again), or become root",
		    path, group->gr_name, group->gr_name);
}

const char *connection_strerror(const struct connection *c, int error)
{
	const char *text = c->tls == NULL ? NULL : tls_client_error(c->tls);

	return text == NULL ? strerror(error) : text;
}

int connection_complain(const struct connection *c, int error)
{
	complain("%s: %s", c->address.text, connection_strerror(c, error));
	switch (error) {
	case ECONNREFUSED:
	case EHOSTUNREACH:
	case ENETUNREACH:
	case ENOENT:
	case ENOTDIR:
	case ETIMEDOUT:
		return STATUS_NOBODY;
	case EACCES:
		if (transport_is_unix(c->address.transport))
			explain_denial(&c->address);
		return STATUS_NO;
	default:
		return STATUS_NO;
	}
}
