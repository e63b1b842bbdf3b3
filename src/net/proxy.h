/*
 * The header of the PROXY protocol, versions 1 and 2 (haproxy's doc/proxy-protocol.txt), by which a proxy announces its
 * client. Knows no socket.
 */
#ifndef ECHOD_NET_PROXY_H
#define ECHOD_NET_PROXY_H

#include <stdbool.h>
#include <stddef.h>

#include "net/peer.h"

#define PROXY_HEADER_MAX \
	536 /* bytes: with IPv6 addresses, or the paths of Unix sockets, and 300 bytes of extensions */

enum proxy_parsed {
	PROXY_DONE,
	PROXY_PARTIAL, /* so far it is one, but more of it has to come */
	PROXY_BROKEN,
};

struct proxy_header {
	size_t length; /* bytes; the client's own are behind it */
	bool
	    is_announced; /* false = the proxy speaks for itself, or cannot tell: the peer is who it is */
	struct peer source;
};

/* Fills in the header that the bytes begin with. On PROXY_BROKEN *why is what was expected, a constant. */
enum proxy_parsed proxy_parse(
    const char *bytes, size_t length, struct proxy_header *header, const char **why);

#endif
