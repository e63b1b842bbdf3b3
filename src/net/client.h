/* A client as an administrator sees it, and the clients that have departed last. */
#ifndef ECHOD_NET_CLIENT_H
#define ECHOD_NET_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "net/peer.h"
#include "net/tls_identity.h"

#define CLIENT_SERVICE_MAX 64 /* of a longer name the beginning */
#define RECENT_CLIENTS 64     /* how many are remembered */
#define RECENT_REFUSED 32     /* the same for refused ones */

#define CLIENT_USER_MAX 65 /* bytes, with NUL */

struct client {
	uint64_t id; /* 0 = it was turned away at the door */
	char service[CLIENT_SERVICE_MAX];
	struct peer peer;
	struct peer proxy; /* that has announced it; family 0 = none has */
	int64_t opened;    /* clock_ms() */
	int64_t active;    /* when a byte was last received or sent */
	uint64_t bytes_in, bytes_out;
	uint64_t unsent;               /* bytes that wait for the client to read */
	uint64_t unread;               /* bytes that have come and are not served yet */
	int fd;                        /* as long as it is here */
	const char *tls_version;       /* a constant; NULL = it is not over TLS, or no longer */
	char tls_client[TLS_NAME_MAX]; /* whom its certificate names; "" = it has shown none */
	char user[CLIENT_USER_MAX];    /* as whom it has logged in; "" = it has not */
	/* Once it has departed: */
	int64_t departed;      /* clock_ms() */
	int reason;            /* enum close_reason */
	int limit;             /* enum limit, if that was it */
	int tls_cause;         /* enum tls_cause, the same */
	const char *tls_error; /* see struct channel */
};

/*
 * Two rings of the last clients; zeroed = there was none. Refused clients have a ring of their own, because
 * thousands of them would push out those that were served.
 */
struct recent_clients {
	struct client ring[RECENT_CLIENTS], refused_ring[RECENT_REFUSED];
	uint64_t count, refused;         /* since the start */
	uint64_t before[RECENT_REFUSED]; /* `count` when each of them was refused */
};

/* The place of the next one, to be filled by the caller. */
struct client *recent_clients_add(struct recent_clients *recent, bool refused);

/* A walk from the last one back; zeroed = at the beginning. */
struct recent_clients_iterator {
	uint64_t seen, seen_refused;
};

/* The next one, in the order of departure, last first; NULL = there is no other. */
const struct client *recent_clients_next(
    const struct recent_clients *recent, struct recent_clients_iterator *walk);

#endif
