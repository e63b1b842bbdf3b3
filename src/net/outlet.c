/* One socket serves unicast, broadcast and multicast; the interface is chosen for each datagram. */
#include "net/outlet.h"

#include <errno.h>
#include <net/if.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/endpoint.h"
#include "net/multicast.h"

/* Room for either family's packet information. */
union packet_info {
	struct cmsghdr header;
	char space[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

static int set_int(int fd, int level, int name, int value)
{
	return setsockopt(fd, level, name, &value, sizeof(value));
}

static int set_options(int fd, int family, int ttl)
{
	if (family == AF_INET6)
		return set_int(fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, ttl);
	if (family != AF_INET)
		return 0;
	if (set_int(fd, SOL_SOCKET, SO_BROADCAST, 1) == -1)
		return -1;
	return set_int(fd, IPPROTO_IP, IP_MULTICAST_TTL, ttl);
}

static int open_socket(int family, int ttl)
{
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd != -1 && set_options(fd, family, ttl) == -1) {
		int saved = errno;

		close(fd);
		errno = saved;
		return -1;
	}
	return fd;
}

static int socket_for(struct outlet *outlet, int family)
{
	int *fd = &outlet->sockets[family == AF_INET    ? OUTLET_IPV4
				   : family == AF_INET6 ? OUTLET_IPV6
							: OUTLET_UNIX];

	if (*fd == -1)
		*fd = open_socket(family, outlet->ttl);
	return *fd;
}

void outlet_open(struct outlet *outlet, int ttl)
{
	outlet->ttl = ttl;
	for (int i = 0; i < OUTLET_FAMILIES; i++)
		outlet->sockets[i] = -1;
}

void outlet_close(struct outlet *outlet)
{
	for (int i = 0; i < OUTLET_FAMILIES; i++)
		if (outlet->sockets[i] != -1)
			close(outlet->sockets[i]);
}

/* Makes the message leave by the interface, past the routing table. */
static void use_interface(
    struct msghdr *message, union packet_info *space, int family, unsigned interface)
{
	const struct in_pktinfo ipv4 = { .ipi_ifindex = (int)interface };
	const struct in6_pktinfo ipv6 = { .ipi6_ifindex = interface };
	bool is_ipv6 = family == AF_INET6;
	size_t size = is_ipv6 ? sizeof(ipv6) : sizeof(ipv4);

	space->header = (struct cmsghdr){ .cmsg_len = CMSG_LEN(size),
		.cmsg_level = is_ipv6 ? IPPROTO_IPV6 : IPPROTO_IP,
		.cmsg_type = is_ipv6 ? IPV6_PKTINFO : IP_PKTINFO };
	memcpy(CMSG_DATA(&space->header), is_ipv6 ? (const void *)&ipv6 : &ipv4, size);
	message->msg_control = space;
	message->msg_controllen = CMSG_SPACE(size);
}

static bool has_zone(const struct endpoint *endpoint)
{
	return endpoint->any.sa_family == AF_INET6 && endpoint->in6.sin6_scope_id != 0;
}

int outlet_send(struct outlet *outlet, const struct endpoint *to, const char *interface,
    void *bytes, size_t length)
{
	/* [::ffff:224.0.0.1] is an IPv4 group, which the options of an IPv6 socket do not apply to. */
	struct endpoint peer = *to;
	struct iovec vector = { bytes, length };
	struct msghdr message = { .msg_name = &peer.any,
		.msg_namelen = sockaddr_unmap(&peer.any, peer.length),
		.msg_iov = &vector,
		.msg_iovlen = 1 };
	union packet_info space;
	int fd = socket_for(outlet, peer.any.sa_family);

	if (fd == -1)
		return -1;
	if (interface != NULL && multicast_takes_interface(&peer.any) && !has_zone(&peer)) {
		unsigned index = if_nametoindex(interface);

		if (index == 0)
			return -1;
		use_interface(&message, &space, peer.any.sa_family, index);
	}
	return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == -1 ? -1 : 0;
}
