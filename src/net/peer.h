/*
 * A peer: the address of a client or of a datagram's sender, in the form that rules and counters compare. It has no
 * padding, so that it can be hashed as a whole.
 */
#ifndef ECHOD_NET_PEER_H
#define ECHOD_NET_PEER_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

struct peer {
	struct in6_addr key; /* its network key, see sockaddr_key(); of a Unix peer zeroes */
	uint32_t scope;      /* of an IPv6 link-local address */
	uint16_t port;       /* host order; 0 for a Unix peer */
	sa_family_t family;  /* AF_INET also for an IPv4-mapped address */
};

/* From what the kernel reports. A Unix peer without a name may have length 0; its name, if it has one, is not kept. */
void peer_set(struct peer *peer, const struct sockaddr *address, socklen_t length);

static inline bool peer_is_ip(const struct peer *peer)
{
	return peer->family == AF_INET || peer->family == AF_INET6;
}

/* Fills in the socket address, without the name of a Unix peer, and returns its length. */
socklen_t peer_sockaddr(const struct peer *peer, struct sockaddr_storage *to);

/* "127.0.0.1:51234", "[::1]:51234" or "unix"; see sockaddr_format(). */
const char *peer_format(const struct peer *peer, char *to, size_t size);

#endif
