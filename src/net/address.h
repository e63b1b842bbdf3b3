/*
 * Addresses as the config writes them: tcp://HOST:PORT, tls://…, redis://…, udp://…, unix:///path, unixgram://@name. Only
 * this module knows their text; net/endpoint.h makes endpoints of them.
 */
#ifndef ECHOD_NET_ADDRESS_H
#define ECHOD_NET_ADDRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/option.h"

/* What is spoken at the address of a stream, besides the service's own lines or bytes. */
struct wire_protocol {
	bool resp; /* RESP, the protocol of Redis */
	bool tls;  /* below it */
};

enum transport { TRANSPORT_TCP, TRANSPORT_UDP, TRANSPORT_UNIX, TRANSPORT_UNIXGRAM };

static inline bool transport_is_stream(enum transport transport)
{
	return transport == TRANSPORT_TCP || transport == TRANSPORT_UNIX;
}

static inline bool transport_is_unix(enum transport transport)
{
	return transport == TRANSPORT_UNIX || transport == TRANSPORT_UNIXGRAM;
}

/* "tcp://", "rediss://": the prefix of each address of that transport and protocol. */
const char *scheme_prefix(enum transport transport, struct wire_protocol protocol);

/* One address of the config, parsed but not resolved. */
struct address {
	enum transport transport;
	struct wire_protocol protocol;
	char *text;    /* as it was written */
	char *host;    /* without brackets; NULL = `*`, and for Unix addresses */
	bool is_name;  /* only a resolver can tell what the host means */
	uint16_t port; /* host order; 0 = any free one */
	char *path;    /* Unix: a path, or "@name" for an abstract one */
	int line;      /* of the file, in a list of the config; else 0 */
};

struct addresses {
	struct address *items;
	size_t count;
};

/* The type of `listen` and `send_to`: one string or an array; the field is a struct addresses. */
extern const struct option_type option_addresses;

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

#define ADDRESS_HOST_MAX 256 /* of a host, NUL included */

/* The name of the interface behind a %; NULL = none. */
const char *address_zone(const struct address *address);
/* A copy of the address without its zone. Its host is in `host`, or is that of `address` if there is no zone. */
struct address address_without_zone(const struct address *address, char host[ADDRESS_HOST_MAX]);

/*
 * Whether it can be reached from anywhere: a wildcard, or an IP address that is not one of loopback,
 * link-local or private use. A name is not looked up, and is not.
 */
bool address_is_public(const struct address *address);

/*
 * Whether only this machine can reach it. Does not look up names: all but localhost may have an address that other
 * machines can reach.
 */
bool address_is_loopback(const struct address *address);

/* A number in decimal digits and nothing else, 0 to `max`; -1 = it is not one. */
int64_t decimal_parse(const char *text, int64_t max);

#endif
