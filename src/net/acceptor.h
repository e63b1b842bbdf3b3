/*
 * An acceptor: the part of a stream's listener that accepts clients. It lets clients queue until its listener has
 * started, and while its instance is full. Out of descriptors or memory, all of them pause. It does not own the socket.
 */
#ifndef ECHOD_NET_ACCEPTOR_H
#define ECHOD_NET_ACCEPTOR_H

#include <stdbool.h>
#include <sys/queue.h>

struct acceptors;
struct event;
struct instance;
struct listener;
struct loop;

/* Embedded in its listener; zeroed = it does not accept. */
struct acceptor {
	TAILQ_ENTRY(acceptor) entry; /* in the list of those that accept, or that wait */
	struct listener *listener;   /* that its clients belong to */
	struct instance *instance;   /* of the listener; NULL until listener_start() */
	struct acceptors *all;
	struct event *event;
	bool waits;     /* does not accept: clients stay in the kernel's queue */
	bool shares;    /* has waited: accepts one client a turn until that queue is empty */
	unsigned older; /* clients that were queued before the socket's options were set */
	int keepalive;  /* for these clients, see socket_set_client_options() */
};

/* What all acceptors of a loop share. NULL with errno. */
struct acceptors *acceptors_new(struct loop *loop);
/* They must be stopped. NULL is fine. */
void acceptors_free(struct acceptors *all);

/* Accepts from the listening socket as soon as it has an instance. 0, or -1 when out of memory. */
int acceptor_start(
    struct acceptor *acceptor, struct listener *listener, struct acceptors *all, int fd);
void acceptor_stop(struct acceptor *acceptor);

/* Whether no accept has worked since they had to pause. */
bool acceptors_are_paused(const struct acceptors *all);

/* Lets those that wait accept again, except during a pause. For new listeners, and limits that may have been raised. */
void acceptors_resume(struct acceptors *all);

#endif
