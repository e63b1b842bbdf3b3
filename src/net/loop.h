/*
 * What every socket of a server shares: the event base, the deadlines, the buffers for datagrams, the
 * count of clients, and the pause that all listeners take when the process is out of descriptors.
 */
#ifndef ECHOD_NET_LOOP_H
#define ECHOD_NET_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "core/log.h"
#include "net/client.h"
#include "net/guard.h"

struct datagram_batch;
struct deadlines;
struct event;
struct event_base;
struct host;
struct instance;
struct listener;
struct stream;

TAILQ_HEAD(instance_list, instance);
TAILQ_HEAD(stream_queue, stream);
LIST_HEAD(program_list, child);
TAILQ_HEAD(waiting_list, listener);

struct loop {
	struct event_base *base;
	struct deadlines *deadlines;
	struct datagram_batch *batch;
	struct own_ports *own_ports;
	struct instance_list instances; /* those that run */
	struct waiting_list waiting;    /* listeners that do not accept, longest first */
	size_t streams;                 /* clients of all instances */
	size_t max_streams;
	size_t crowd;                 /* the most clients since memory was last given back */
	struct event *trim;           /* gives it back */
	size_t refused;               /* clients that are only being told why they can't stay */
	size_t children;              /* programs that run for clients of all instances */
	struct program_list programs; /* all of them, see net/child.c */
	uint64_t last_id;
	struct stream_queue
	    pending_writes;          /* streams whose output leaves at the end of this turn, */
	struct event *flush;         /* when this runs */
	size_t bytes_since_flush;    /* moved for all clients */
	const struct stream *judged; /* in stream_check(); NULL once that stream has ended */
	struct clients_left clients_left;
	struct client_walk_list walks; /* that are under way */
	const struct host *host;       /* answers the control service; its owner set it */
	struct event *left; /* activated when one of them has gone; whoever set it owns it */
	/* Out of descriptors: */
	struct event *resume; /* ends the pause */
	int reserve_fd;       /* closed to take one client off a queue and turn it away */
	int64_t pause;        /* ms, the current one; 0 = we accept */
	struct log_class accept_errors;
};

/* NULL with errno when something could not be had. */
struct loop *loop_new(size_t max_streams);
/* Runs the callbacks that libevent still owes to freed sockets, then frees it. NULL is fine. */
void loop_free(struct loop *loop);

/*
 * Out of descriptors or memory. All listeners rest: 50 ms, doubling to 1 s while it does not get better.
 * The listener that has failed sheds one client, and is the last to accept again.
 */
void loop_cannot_accept(struct loop *loop, struct listener *listener, int error);
/* An accept has worked. */
void loop_accepted(struct loop *loop);

/*
 * A client or a program has gone: waiting listeners may have room again. Those that have waited longest accept
 * first.
 */
void loop_has_room(struct loop *loop);

/* A client has gone, one of `streams`. */
void loop_left(struct loop *loop);

#endif
