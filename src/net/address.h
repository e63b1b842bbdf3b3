/*
 * Addresses as the config writes them (tcp://HOST:PORT, udp://…, unix:///path, unixgram://@name)
 * and as the kernel takes them. Only this file knows an address family's text.
 */
#ifndef ECHOD_NET_ADDRESS_H
#define ECHOD_NET_ADDRESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "core/option.h"

enum transport { TRANSPORT_TCP, TRANSPORT_UDP, TRANSPORT_UNIX, TRANSPORT_UNIXGRAM };

static inline bool transport_is_stream(enum transport transport)
{
	return transport == TRANSPORT_TCP || transport == TRANSPORT_UNIX;
}

static inline bool transport_is_unix(enum transport transport)
{
	return transport == TRANSPORT_UNIX || transport == TRANSPORT_UNIXGRAM;
}

/* One address of the config, parsed but not resolved. */
struct address {
	enum transport transport;
	char *text;    /* as it was written */
	char *host;    /* without brackets; NULL = `*`, and for Unix addresses */
	uint16_t port; /* host order; 0 = any free one */
	char *path;    /* Unix: a path, or "@name" for an abstract one */
};

struct addresses {
	struct address *items;
	size_t count;
};

/* The type of `listen` and `send_to`: one string or an array; the field is a struct addresses. */
extern const struct option_type option_addresses;

/* An address for the kernel. */
struct endpoint {
	enum transport transport;
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
 * Holds any endpoint or peer as text, NUL included; one that escapes have made longer ends in
 * "...".
 */
#define ADDRESS_TEXT_MAX 160

/*
 * 0, or -1 with *why a constant text ("the port is missing: ..."). What the struct held is
 * overwritten, not freed; after a failure it is zeroed.
 */
int address_parse(struct address *address, const char *text, const char **why);
void address_clear(struct address *address);

/* Whether it is a name that only a resolver can tell the meaning of. */
bool address_is_name(const struct address *address);

/* A number in decimal digits and nothing else, 0 to `max`; -1 = it is not one. */
long decimal_parse(const char *text, long max);

/*
 * All endpoints of the address, each once; a name may have several. Only a name asks the
 * resolver, which may block. 0 and the caller owns to->items, or -1 with *why.
 */
int address_resolve(const struct address *address, struct endpoints *to, const char **why);
void endpoints_clear(struct endpoints *endpoints);

/* The port, host order; 0 for a Unix endpoint. */
uint16_t endpoint_port(const struct endpoint *endpoint);

/* Same transport, same address, same port. */
bool endpoint_equal(const struct endpoint *a, const struct endpoint *b);

/* "tcp://[::1]:5566", "unix:///run/x.sock", "unix://@name"; foreign bytes of a name are escaped. */
const char *endpoint_format(const struct endpoint *endpoint, char *to, size_t size);

/*
 * A peer, for log lines: "127.0.0.1:51234", "[::1]:51234", "unix" (unnamed), "unix:/path",
 * "unix:@name". IPv4-mapped is plain IPv4; foreign bytes are escaped.
 */
const char *peer_format(const struct sockaddr *peer, socklen_t length, char *to, size_t size);

/* The port, host order; 0 for a Unix address. */
uint16_t sockaddr_port(const struct sockaddr *address);

/* ::ffff:a.b.c.d becomes a.b.c.d, in place; everything else stays. Returns the new length. */
socklen_t sockaddr_unmap(struct sockaddr *address, socklen_t length);

#endif
