/*
 * What all sockets of a server share: the event base, the deadlines, lists and counts, and the events by which
 * modules notify each other. It depends on none of its users.
 */
#ifndef ECHOD_NET_LOOP_H
#define ECHOD_NET_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "net/arrival.h"
#include "net/client.h"

#define PENDING_WRITES_MAX 64 /* one that finds no place is written at once */

struct acceptors;
struct datagram_batch;
struct deadline;
struct deadlines;
struct event;
struct event_base;
struct host;
struct own_ports;
struct passwords;
struct stream;
struct task;

TAILQ_HEAD(instance_list, instance);
LIST_HEAD(program_list, child);
LIST_HEAD(client_iterators, client_iterator);

struct loop {
	struct event_base *base;
	struct deadlines *deadlines;
	struct datagram_batch
	    *batch; /* one block of memory; NULL before the first datagram listener */
	struct own_ports *own_ports;
	struct acceptors *acceptors;    /* the server's */
	struct instance_list instances; /* those that run */
	size_t streams;                 /* clients of all instances */
	size_t max_streams;
	size_t peak_clients;          /* the most clients since memory was last given back */
	struct event *trim;           /* gives it back */
	size_t refused;               /* clients that only get the reason for their refusal */
	size_t children;              /* programs that run for clients of all instances */
	struct program_list programs; /* all of them, see net/child.c */
	uint64_t last_id;
	/* Streams whose output leaves at the end of this turn, when `flush` runs; NULL = that one has ended. */
	struct stream *pending_writes[PENDING_WRITES_MAX];
	size_t pending_count;
	struct event *flush;
	struct passwords *passwords; /* the server's */
	struct task *renewal;        /* of certificates; the server's, NULL = it has none */
	struct arrivals arrivals;
	size_t bytes_since_flush;     /* moved for all clients */
	const struct stream *checked; /* in stream_check(); NULL once that stream has ended */
	struct recent_clients recent_clients;
	struct client_iterators iterators; /* over all clients, begun and not ended */
	const struct host *host;           /* answers the control service; its owner set it */
	/* Activated when a client or a program has gone; NULL = not wanted. The module that set one owns it. */
	struct event *departed;
	struct event *room;    /* the same, but only while `waiting_acceptors` is above 0 */
	struct event *started; /* activated when a service has started, or cannot; as `departed` */
	size_t waiting_acceptors;
	bool stopping; /* the daemon is: no client waits for the loop any more */
	/* The services that have lost changes which were confirmed to clients; "" = none, and it is cut if it is longer. */
	char losses[256];
};

/*
 * Calls check() for each deadline that is due, and flush_cb(), with the loop as argument, when the event `flush` is
 * active. NULL with errno when out of memory or descriptors.
 */
struct loop *loop_new(size_t max_streams, void (*check)(struct deadline *deadline, int64_t now_ms),
    void (*flush_cb)(int fd, short events, void *loop));
/* Runs the callbacks that libevent still owes to freed sockets, then frees it. NULL is fine. */
void loop_free(struct loop *loop);
/* Of the loop; NULL is fine. */
void loop_free_event(struct event *event);

/* Wakes the server: a service has finished the part of its start that runs beside the loop, or has failed in it. */
void loop_announce_start(struct loop *loop);

/* A program, or a client that was only refused, has gone. */
void loop_announce_departure(struct loop *loop);
/* A service has ended without what it has confirmed to clients. */
void loop_note_loss(struct loop *loop, const char *service);
/* One of the clients that `streams` counts has gone; counts it out. */
void loop_count_departure(struct loop *loop);

#endif
