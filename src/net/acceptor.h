/*
 * An acceptor: the part of a stream's listener that accepts clients. It waits while its instance is full and lets
 * clients queue. Out of descriptors or memory, all of them pause. It does not own the socket.
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
	TAILQ_ENTRY(acceptor) entry; /* of those that accept, or of those that wait */
	struct listener *listener;   /* that its clients belong to, */
	struct instance *instance;   /* and the listener's, when the loop turns */
	struct acceptors *all;
	struct event *event;
	bool waits;     /* does not accept: clients stay in the kernel's queue */
	bool shares;    /* has waited: accepts one client a turn until that queue is empty */
	int keepalive;  /* of socket_set_keepalive(), for those that */
	unsigned older; /* are in the queue from before the socket's options were set */
};

/* What all acceptors of a loop share. NULL with errno. */
struct acceptors *acceptors_new(struct loop *loop);
/* They must be stopped. NULL is fine. */
void acceptors_free(struct acceptors *all);

/* Accepts from the listening socket from now on. 0, or -1 when out of memory. */
int acceptor_start(
    struct acceptor *acceptor, struct listener *listener, struct acceptors *all, int fd);
void acceptor_stop(struct acceptor *acceptor);

/* Whether no accept has worked since they had to pause. */
bool acceptors_are_paused(const struct acceptors *all);

/* Those that wait may accept again, unless it is a pause: limits may have been raised. */
void acceptors_resume(struct acceptors *all);

#endif
