/* Opening and closing of bound sockets. */
#include "net/socket.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "net/multicast.h"
#include "net/socket_path.h"

#define UNSENT_MAX (128 * 1024) /* of a client's answers, in the kernel */
#define PROBES 3                /* without an answer, and the peer is gone */
#define PROBE_SECONDS 30

int socket_set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value));
}

bool endpoint_is_group(const struct endpoint *e)
{
	return e->transport == TRANSPORT_UDP && multicast_is_group(&e->any);
}

/*
 * For a socket with many addresses, has the kernel report the target of each datagram. Only the IPv4 information
 * shows a broadcast, so a dual-stack socket asks for both.
 */
static int enable_packet_info(int fd, const struct endpoint *e)
{
	bool many;
	int probe;

	if (e->transport != TRANSPORT_UDP)
		return 0;
	many = endpoint_is_wildcard(e);
	/* connect(2) refuses a broadcast address of this machine with EACCES, unless SO_BROADCAST is set. */
	if (!many && (probe = socket(e->any.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0)) != -1) {
		many = connect(probe, &e->any, e->length) == -1 && errno == EACCES;
		close(probe);
	}
	if (!many)
		return 0;
	if (e->any.sa_family == AF_INET6 &&
	    socket_set_int(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 1) == -1)
		return -1;
	return socket_set_int(fd, IPPROTO_IP, IP_PKTINFO, 1);
}

/*
 * Accepted sockets inherit these options. Urgent data stays in its place in the stream (RFC 6093): out of band, an
 * echo would lack a byte, and telnet's Synch would be an IAC without its DM. TCP_NODELAY, because answers are written
 * whole. With TCP_NOTSENT_LOWAT, output that a client does not read stays with us, where it is visible and bounded,
 * instead of filling four megabytes of the kernel's; old kernels lack it.
 */
static int set_tcp_options(int fd)
{
	if (socket_set_int(fd, SOL_SOCKET, SO_OOBINLINE, 1) == -1)
		return -1;
	socket_set_int(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, UNSENT_MAX);
	return socket_set_int(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

/*
 * Does not set TCP_USER_TIMEOUT, which would also end live clients whose window is closed. If a peer vanishes with
 * unacknowledged data, the kernel gives up after net.ipv4.tcp_retries2; if we have more to send, so does the
 * stream's deadline.
 */
int socket_set_keepalive(int fd, int seconds)
{
	if (socket_set_int(fd, SOL_SOCKET, SO_KEEPALIVE, seconds != 0) == -1)
		return -1;
	if (seconds == 0)
		return 0;
	if (socket_set_int(fd, IPPROTO_TCP, TCP_KEEPINTVL, PROBE_SECONDS) == -1 ||
	    socket_set_int(fd, IPPROTO_TCP, TCP_KEEPCNT, PROBES) == -1)
		return -1;
	return socket_set_int(fd, IPPROTO_TCP, TCP_KEEPIDLE, seconds);
}

void socket_set_client_options(int fd, int keepalive)
{
	set_tcp_options(fd);
	socket_set_keepalive(fd, keepalive);
}

unsigned socket_queue_length(int fd)
{
	struct tcp_info info = { 0 };
	socklen_t length = sizeof(info);

	/* tcpi_unacked of a listening socket is the length of its queue. */
	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &length) == -1 ? 0 : info.tcpi_unacked;
}

static int socket_set_options(
    int fd, const struct endpoint *e, const struct socket_options *options)
{
	if (transport_is_unix(e->transport))
		return 0;
	/* For unicast UDP it would let a second server take the port away from the first. */
	if ((e->transport == TRANSPORT_TCP || endpoint_is_group(e)) &&
	    socket_set_int(fd, SOL_SOCKET, SO_REUSEADDR, 1) == -1)
		return -1;
	if (e->transport == TRANSPORT_TCP &&
	    (set_tcp_options(fd) == -1 || socket_set_keepalive(fd, options->keepalive) == -1))
		return -1;
	if (e->any.sa_family == AF_INET6 &&
	    socket_set_int(fd, IPPROTO_IPV6, IPV6_V6ONLY, options->ipv6_only) == -1)
		return -1;
	if (options->beside && socket_set_int(fd, SOL_SOCKET, SO_REUSEPORT, 1) == -1)
		return -1;
	if (options->freebind &&
	    (e->any.sa_family == AF_INET6 ? socket_set_int(fd, IPPROTO_IPV6, IPV6_FREEBIND, 1)
					  : socket_set_int(fd, IPPROTO_IP, IP_FREEBIND, 1)) == -1)
		return -1;
	return enable_packet_info(fd, e);
}

static bool is_path(const struct endpoint *e)
{
	return transport_is_unix(e->transport) && e->un.sun_path[0] != '\0';
}

/* Sets the mode before the name exists, so that nobody can connect in between (CVE-2023-45145). */
static int bind_with_mode(int fd, const struct endpoint *e, mode_t mode)
{
	mode_t old_mask;
	int result;

	if (!is_path(e))
		return bind(fd, &e->any, e->length);
	if (fchmod(fd, mode) == -1)
		return -1;
	old_mask = umask(0);
	result = bind(fd, &e->any, e->length);
	umask(old_mask);
	return result;
}

/* Notes which file the path is, to recognise it later. */
static void note_path(struct bound_socket *s)
{
	struct stat st;

	if (lstat(s->endpoint.un.sun_path, &st) == 0 && S_ISSOCK(st.st_mode)) {
		s->device = st.st_dev;
		s->inode = st.st_ino;
	}
}

static int bind_path(
    struct bound_socket *s, const struct socket_options *options, const char **call)
{
	const char *path = s->endpoint.un.sun_path;
	int lock, result = -1;

	*call = "bind";
	if ((lock = socket_path_lock(path)) == -1)
		return -1;
	if (socket_path_clear(&s->endpoint) == 0 &&
	    (result = bind_with_mode(s->fd, &s->endpoint, options->unix_mode)) == 0)
		note_path(s);
	if (result == 0 && transport_is_stream(s->endpoint.transport)) {
		*call = "listen";
		result = listen(s->fd, options->backlog);
	}
	socket_path_unlock(path, lock);
	return result;
}

static int bind_port(
    struct bound_socket *s, const struct socket_options *options, const char **call)
{
	*call = "bind";
	if (bind_with_mode(s->fd, &s->endpoint, options->unix_mode) == -1)
		return -1;
	*call = "listen";
	if (transport_is_stream(s->endpoint.transport) && !options->silent &&
	    listen(s->fd, options->backlog) == -1)
		return -1;
	*call = "setsockopt";
	if (options->beside && socket_share(s, false) == -1)
		return -1;
	*call = "getsockname";
	s->endpoint.length = sizeof(s->endpoint.storage);
	return getsockname(s->fd, &s->endpoint.any, &s->endpoint.length);
}

/* On the interface of that index; 0 = as routed. */
static int join_group(struct bound_socket *s, unsigned interface)
{
	const struct endpoint *e = &s->endpoint;

	if (multicast_join(s->fd, &e->any, e->length, interface) == -1)
		return -1;
	s->interface = interface != 0 ? interface : multicast_interface(s->fd, &e->any, e->length);
	return 0;
}

/* Binds to the group itself, so that only its datagrams arrive. */
static int bind_group(
    struct bound_socket *s, const struct socket_options *options, const char **call)
{
	struct sockaddr_in6 *in6 = s->endpoint.any.sa_family == AF_INET6 ? &s->endpoint.in6 : NULL;
	unsigned interface = 0;

	*call = "join";
	if (options->interface[0] != '\0' && (interface = if_nametoindex(options->interface)) == 0)
		return -1;
	if (in6 != NULL && in6->sin6_scope_id == 0 &&
	    (IN6_IS_ADDR_MC_LINKLOCAL(&in6->sin6_addr) ||
		IN6_IS_ADDR_MC_NODELOCAL(&in6->sin6_addr)))
		in6->sin6_scope_id = interface;
	if (bind_port(s, options, call) == -1)
		return -1;
	*call = "join";
	if (interface == 0 && in6 != NULL)
		interface = in6->sin6_scope_id;
	return join_group(s, interface);
}

static int open_endpoint(struct bound_socket *s, const struct endpoint *wanted,
    const struct socket_options *options, const char **call)
{
	int type = transport_is_stream(wanted->transport) ? SOCK_STREAM : SOCK_DGRAM, result;

	*s = (struct bound_socket){ .fd = -1, .endpoint = *wanted };
	*call = "socket";
	s->fd = socket(wanted->any.sa_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (s->fd == -1)
		return -1;
	*call = "setsockopt";
	result = socket_set_options(s->fd, wanted, options);
	if (result == 0)
		result = is_path(wanted)             ? bind_path(s, options, call)
			 : endpoint_is_group(wanted) ? bind_group(s, options, call)
						     : bind_port(s, options, call);
	if (result == -1) {
		int saved = errno;

		socket_close(s);
		errno = saved;
	}
	return result;
}

/* Says which call has failed with errno. Returns -1. */
static int refuse(const struct endpoint *wanted, const char *call, struct error *error)
{
	uint16_t port = endpoint_port(wanted);
	char text[ADDRESS_TEXT_MAX], explained[300];
	const char *reason;
	int saved = errno;

	reason = strerror(saved);
	if (is_path(wanted))
		reason =
		    socket_path_explain(wanted->un.sun_path, saved, explained, sizeof(explained));
	else if (saved == EACCES && port > 0 && port < IPPORT_RESERVED)
		reason = "Permission denied, as for any port below 1024 without "
			 "CAP_NET_BIND_SERVICE";
	return error_code(error, saved, "cannot %s %s: %s", call,
	    endpoint_format(wanted, text, sizeof(text)), reason);
}

/* As open_endpoint(), for `*` too, which is IPv4 only where the kernel has no IPv6. */
static int open_wanted(struct bound_socket *s, const struct endpoint *wanted,
    const struct socket_options *options, const char **call)
{
	int result = open_endpoint(s, wanted, options, call);

	if (result == -1 && wanted->wildcard && errno == EAFNOSUPPORT) {
		struct endpoint ipv4 = {
			.transport = wanted->transport, .wildcard = true, .length = sizeof(ipv4.in)
		};

		ipv4.in.sin_family = AF_INET;
		ipv4.in.sin_port = wanted->in6.sin6_port;
		result = open_endpoint(s, &ipv4, options, call);
	}
	return result;
}

int socket_open(struct bound_socket *s, const struct endpoint *wanted,
    const struct socket_options *options, struct error *error)
{
	const char *call = "";

	if (open_wanted(s, wanted, options, &call) == 0)
		return 0;
	return refuse(wanted, call, error);
}

int socket_probe(
    const struct endpoint *wanted, const struct socket_options *options, struct error *error)
{
	struct socket_options quiet = *options;
	const char *call = "bind";
	struct bound_socket s;

	if (endpoint_is_group(wanted))
		return 0; /* a receiver waits for what is missing */
	if (is_path(wanted))
		return socket_path_probe(wanted) == 0 ? 0 : refuse(wanted, call, error);
	quiet.silent = true;
	if (open_wanted(&s, wanted, &quiet, &call) == -1)
		return refuse(wanted, call, error);
	socket_close(&s);
	return 0;
}

/* --- sockets beside each other --- */

int socket_share(const struct bound_socket *s, bool share)
{
	return socket_set_int(s->fd, SOL_SOCKET, SO_REUSEPORT, share);
}

/* Whether it has all of the other's addresses; the port is the same. */
static bool covers(
    const struct endpoint *e, const struct socket_options *options, const struct endpoint *other)
{
	if (e->any.sa_family == other->any.sa_family)
		return endpoint_is_wildcard(e) || endpoint_equal(e, other);
	return e->any.sa_family == AF_INET6 && endpoint_is_wildcard(e) && !options->ipv6_only;
}

bool sockets_collide(const struct endpoint *a, const struct socket_options *a_options,
    const struct endpoint *b, const struct socket_options *b_options)
{
	struct endpoint x = *a, y = *b;

	if (is_path(a) && is_path(b))
		return strcmp(a->un.sun_path, b->un.sun_path) == 0;
	if (a->transport != b->transport || endpoint_port(a) != endpoint_port(b))
		return false;
	if (transport_is_unix(a->transport))
		return endpoint_equal(a, b);
	if (endpoint_port(a) == 0)
		return false;
	if (endpoint_is_group(a) && endpoint_is_group(b))
		return false; /* each of them gets what is sent to the group */
	x.length = sockaddr_unmap(&x.any, x.length);
	y.length = sockaddr_unmap(&y.any, y.length);
	return covers(&x, a_options, &y) || covers(&y, b_options, &x);
}

/* --- sockets that somebody else has bound --- */

static int get_int(int fd, int name)
{
	int value = -1;
	socklen_t length = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, name, &value, &length) == -1 ? -1 : value;
}

/* 0, or -1 when it is none of our transports. */
static int find_transport(int fd, const struct sockaddr *address, enum transport *transport)
{
	static const struct {
		int family, type;
		enum transport transport;
	} known[] = {
		{ AF_INET, SOCK_STREAM, TRANSPORT_TCP },
		{ AF_INET, SOCK_DGRAM, TRANSPORT_UDP },
		{ AF_INET6, SOCK_STREAM, TRANSPORT_TCP },
		{ AF_INET6, SOCK_DGRAM, TRANSPORT_UDP },
		{ AF_UNIX, SOCK_STREAM, TRANSPORT_UNIX },
		{ AF_UNIX, SOCK_DGRAM, TRANSPORT_UNIXGRAM },
	};
	int type = get_int(fd, SO_TYPE);

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i].family == address->sa_family && known[i].type == type) {
			*transport = known[i].transport;
			return 0;
		}
	return -1;
}

/* Joins the group of the socket's address on the interface of that name, or else of its zone. */
static int adopt_group(struct bound_socket *s, const char *interface_name)
{
	unsigned interface =
	    s->endpoint.any.sa_family == AF_INET6 ? s->endpoint.in6.sin6_scope_id : 0;

	if (interface_name[0] != '\0' && (interface = if_nametoindex(interface_name)) == 0)
		return -1;
	return join_group(s, interface);
}

int socket_join_again(struct bound_socket *s, const char *interface_name)
{
	multicast_leave(s->fd, &s->endpoint.any, s->endpoint.length, s->interface);
	return adopt_group(s, interface_name);
}

int socket_adopt(struct bound_socket *s, int fd, const char *interface_name, struct error *error)
{
	struct endpoint *e = &s->endpoint;
	int flags;

	*s = (struct bound_socket){
		.fd = fd, .endpoint.length = sizeof(e->storage), .adopted = true
	};
	if (getsockname(fd, &e->any, &e->length) == -1)
		return error_code(error, errno, "%s", strerror(errno));
	if (find_transport(fd, &e->any, &e->transport) == -1)
		return error_set(error, "expected a TCP, UDP or Unix socket");
	if (transport_is_stream(e->transport) && get_int(fd, SO_ACCEPTCONN) != 1)
		return error_set(error, "expected a socket that listens, not a connection");
	if ((flags = fcntl(fd, F_GETFL)) == -1 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == -1 ||
	    (e->transport == TRANSPORT_TCP && set_tcp_options(fd) == -1) ||
	    enable_packet_info(fd, e) == -1 ||
	    (endpoint_is_group(e) && adopt_group(s, interface_name) == -1))
		return error_code(error, errno, "%s", strerror(errno));
	if (is_path(e))
		note_path(s);
	return 0;
}

bool socket_has_lost_group(const struct bound_socket *s, const char *interface_name)
{
	char name[IF_NAMESIZE];

	if (s->interface == 0)
		return false;
	/* What we have not opened ourselves may be in another network than ours. */
	if (!s->adopted && !multicast_is_joined(&s->endpoint.any, s->interface))
		return true;
	if (interface_name[0] != '\0')
		return if_nametoindex(interface_name) != s->interface;
	return if_indextoname(s->interface, name) == NULL;
}

/* A path that we cannot see (EACCES, a mount namespace of our own) is not gone. */
bool socket_is_reachable(const struct bound_socket *s)
{
	const struct endpoint *e = &s->endpoint;
	char name[IF_NAMESIZE];
	struct stat st;

	if (s->fd != -1 && e->any.sa_family == AF_INET6 && e->in6.sin6_scope_id != 0 &&
	    !endpoint_is_group(e))
		return if_indextoname(e->in6.sin6_scope_id, name) != NULL;
	if (s->fd == -1 || s->inode == 0)
		return true;
	if (lstat(e->un.sun_path, &st) == -1)
		return errno != ENOENT && errno != ENOTDIR;
	return st.st_dev == s->device && st.st_ino == s->inode;
}

void socket_close(struct bound_socket *s)
{
	struct stat st;

	if (s->fd == -1)
		return;
	if (s->inode != 0 && !s->adopted && lstat(s->endpoint.un.sun_path, &st) == 0 &&
	    st.st_dev == s->device && st.st_ino == s->inode)
		unlink(s->endpoint.un.sun_path);
	close(s->fd);
	s->fd = -1;
}
