/*
 * Addresses in the form of the kernel: endpoints to bind or to send to, and any socket address.
 * An ADDRESS_TEXT_MAX holds the text of each.
 */
#ifndef ECHOD_NET_ENDPOINT_H
#define ECHOD_NET_ENDPOINT_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "net/address.h"

/* An address for the kernel. */
struct endpoint {
	enum transport transport;
	struct wire_protocol protocol;
	bool wildcard; /* it was `*`: falls back to 0.0.0.0 where there is no IPv6 */
	socklen_t length;
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
		struct sockaddr_storage storage;
	};
};

struct endpoints {
	struct endpoint *items;
	size_t count;
};

/*
 * All endpoints of the address, each once; a name may have several. Only a name asks the
 * resolver, which may block. 0 and the caller owns to->items, or -1 with *why.
 */
int endpoints_resolve(struct endpoints *to, const struct address *address, const char **why);
void endpoints_clear(struct endpoints *endpoints);

/* The port, host order; 0 for a Unix endpoint. */
uint16_t endpoint_port(const struct endpoint *endpoint);

/* Whether only this machine can reach it: a loopback address or a Unix socket. */
bool endpoint_is_loopback(const struct endpoint *endpoint);
/* Whether an IP endpoint is 0.0.0.0, [::] or [::ffff:0.0.0.0]. */
bool endpoint_is_wildcard(const struct endpoint *endpoint);

/* Same transport, address and port; the protocol may differ. */
bool endpoint_equal(const struct endpoint *a, const struct endpoint *b);

/* "tcp://[::1]:5566", "redis://127.0.0.1:6379", "unix:///run/x.sock", "unix://@name"; foreign bytes of a name are escaped. */
const char *endpoint_format(const struct endpoint *endpoint, char *to, size_t size);

/*
 * A socket address, for log lines: "127.0.0.1:51234", "[::1]:51234", "unix" (unnamed), "unix:/path",
 * "unix:@name". IPv4-mapped is plain IPv4; foreign bytes are escaped.
 */
const char *sockaddr_format(
    const struct sockaddr *address, socklen_t length, char *to, size_t size);

/* The port, host order; 0 for a Unix address. */
uint16_t sockaddr_port(const struct sockaddr *address);

/* An IP socket address as the 16 bytes that networks are compared with; false = it is none. */
bool sockaddr_key(const struct sockaddr *address, struct in6_addr *key);
/* The key of an IPv4 address. */
void network_key_map(struct in6_addr *key, const struct in_addr *address);
/* The IPv4 address, in host order, of a key that is IPv4-mapped. */
uint32_t network_key_ipv4(const struct in6_addr *key);
/* Whether the key is a loopback address, a multicast group, the limited broadcast address. */
bool network_key_is_loopback(const struct in6_addr *key);
bool network_key_is_group(const struct in6_addr *key);
bool network_key_is_broadcast(const struct in6_addr *key);

/* ::ffff:a.b.c.d becomes a.b.c.d, in place; everything else stays. Returns the new length. */
socklen_t sockaddr_unmap(struct sockaddr *address, socklen_t length);

#endif
