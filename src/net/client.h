/*
 * Clients as an administrator sees them: those that are here, in pieces and in their order, and the ones
 * that left last. Nothing of it costs a client memory.
 */
#ifndef ECHOD_NET_CLIENT_H
#define ECHOD_NET_CLIENT_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "net/peer.h"

struct instance;
struct loop;
struct stream;

#define CLIENT_SERVICE_MAX 64 /* of a longer name the beginning */
#define CLIENTS_LEFT 64       /* how many are remembered */
#define CLIENTS_REFUSED 32    /* the same for refused ones */

struct client {
	uint64_t id; /* 0 = it was turned away at the door */
	char service[CLIENT_SERVICE_MAX];
	struct peer peer;
	int64_t opened; /* clock_ms() */
	int64_t active; /* when a byte came or went last */
	uint64_t bytes_in, bytes_out;
	uint64_t unsent; /* bytes that wait for the client to read */
	/* Once it has left: */
	int64_t left;
	int reason; /* enum close_reason */
	int limit;  /* enum limit, if that was it */
};

/*
 * Two rings of the clients that left last; zeroed = none has. Refused clients have a ring of their own, because
 * thousands of them would push out those that were served.
 */
struct clients_left {
	struct client ring[CLIENTS_LEFT], refused_ring[CLIENTS_REFUSED];
	uint64_t count, refused;          /* since the start */
	uint64_t before[CLIENTS_REFUSED]; /* `count` when each of the refused ones came */
};

/* The place of the next one, to be filled by the caller. */
struct client *clients_left_add(struct clients_left *left, bool refused);

/* A walk from the last one back; zeroed = at the beginning. */
struct clients_left_walk {
	uint64_t seen, seen_refused;
};

/* The next one, in the order of leaving, last first; NULL = there is no other. */
const struct client *clients_left_next(
    const struct clients_left *left, struct clients_left_walk *walk);

/* A walk over all clients. It may be left and gone on with: who has ended meanwhile is stepped over. */
struct client_walk {
	LIST_ENTRY(client_walk) entry; /* in loop->walks */
	struct instance *instance;
	struct stream *next; /* of the instance */
};

LIST_HEAD(client_walk_list, client_walk);

void client_walk_begin(struct client_walk *walk, struct loop *loop);
/* The next one, valid until the loop goes on; NULL at the end. */
struct stream *client_walk_next(struct client_walk *walk);
void client_walk_end(struct client_walk *walk);

/* For those who take one away, while it is still in its list. */
void client_walks_pass_stream(struct loop *loop, const struct stream *stream);
void client_walks_pass_instance(struct loop *loop, const struct instance *instance);

#endif
