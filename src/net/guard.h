/*
 * The reflection guards keep a UDP service from looping with another one and from amplifying forged requests. Six
 * checks in one order, see LOOPS in echod(8); each drop has a reason, which the caller counts. Tables are of fixed
 * size: nothing is allocated for a peer.
 */
#ifndef ECHOD_NET_GUARD_H
#define ECHOD_NET_GUARD_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "net/access.h"
#include "net/peer.h"

enum drop_reason {
	DROP_NOT,      /* let it pass */
	DROP_SOURCE,   /* port 0; an unspecified, multicast, broadcast or mapped source or target */
	DROP_OWN_PORT, /* from one of our own datagram ports */
	DROP_RESPONDER, /* from a port below 1024 or of a well-known responder */
	DROP_DENIED,    /* allow and deny rules */
	DROP_ANSWER,    /* the service had no answer to it */
	DROP_RATE,      /* over reply_rate */
	DROP_REPEAT,    /* the same request and reply over and over: this exchange is muted */
	DROP_TRUNCATED, /* larger than the buffer */
	DROP_UNNAMED,   /* a Unix peer without an address */
	DROP_UNSENT,    /* the kernel or the peer's socket refused the reply */
	DROP_REASONS
};

/* "own_port", for counters and log lines. */
const char *drop_reason_name(enum drop_reason reason);

/*
 * All ports that datagram services of this process are bound to; one per server. Zeroed = none.
 * Sockets may share a port number (two addresses, two families, the old and the new one in a
 * reload): it is ours until the last of them has gone, so each is counted.
 */
struct own_ports {
	uint16_t sockets[65536];
};
void own_ports_add(struct own_ports *ports, uint16_t port);
void own_ports_remove(struct own_ports *ports, uint16_t port);
bool own_ports_has(const struct own_ports *ports, uint16_t port);

struct guard_rules {
	bool any_port;      /* reply_ports = "any" */
	int64_t reply_rate; /* replies a second and source prefix, up to 10^9; 0 = no limit */
	struct prefixes reply_prefix;
	bool receiver; /* answers nothing: any target and any source port are welcome */
};

/* The sender of a datagram, and the address that it was sent to. */
struct datagram_route {
	const struct peer *from;
	const struct sockaddr *name; /* of a Unix peer, which identifies it */
	socklen_t name_length;
	const struct in6_addr
	    *to; /* a sockaddr_key(), see there; NULL = not known: it is not checked */
};

struct guard;

/* The state of one instance. NULL with errno ENOMEM or that of getrandom(2). */
struct guard *guard_new(void);
void guard_free(struct guard *guard);

/*
 * Guards 1 to 3, before the service sees the datagram. Unix peers have no port and no network: they
 * pass.
 */
enum drop_reason guard_request(const struct guard_rules *rules, const struct own_ports *own,
    const struct datagram_route *route);

/*
 * Guards 5 and 6, once the service has an answer to the datagram of that route. `muted` is set:
 * true when this very call has muted the exchange, so that the caller can log it once. Loopback and
 * Unix peers are exempt from 5.
 */
enum drop_reason guard_reply(struct guard *guard, const struct guard_rules *rules,
    const struct datagram_route *route, const void *request, size_t request_length,
    const void *reply, size_t reply_length, int64_t now_ms, bool *muted);

/* How long guard 5 would drop the next reply to that peer, in ms; 0 = it would let it pass, -1 = the peer is exempt. */
int64_t guard_rate_wait(const struct guard *guard, const struct guard_rules *rules,
    const struct peer *peer, int64_t now_ms);

#define MUTED_REQUEST_SHOWN 32 /* leading bytes of a request, enough to recognise it */

/* One request of one peer that got the same reply over and over. */
struct muted_exchange {
	struct peer peer; /* the key of a Unix peer holds a hash of its name */
	int64_t until;    /* ms */
	size_t length;    /* of the request */
	char request[MUTED_REQUEST_SHOWN];
};

/*
 * The muted exchanges of a peer: of all ports of its address if its port is 0, and of all Unix peers if it is one.
 * Fills in up to `max` of them and returns how many there are.
 */
size_t guard_muted(const struct guard *guard, const struct peer *peer, int64_t now_ms,
    struct muted_exchange *to, size_t max);

#endif
