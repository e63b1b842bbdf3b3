/*
 * A listener: one bound address of an instance, of any transport. It accepts clients by the rules and
 * limits of its instance, or receives its datagrams. Owns the socket and its events.
 */
#ifndef ECHOD_NET_LISTENER_H
#define ECHOD_NET_LISTENER_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "net/acceptor.h"
#include "net/endpoint.h"
#include "net/socket.h"

struct error;
struct event;
struct inherited_socket;
struct instance;
struct loop;

struct listener {
	TAILQ_ENTRY(listener) entry; /* of its instance */
	struct loop *loop;
	struct instance *instance;     /* NULL until listener_start() */
	struct endpoint wanted;        /* as configured, with port 0 */
	struct socket_options options; /* as the socket was opened with */
	struct bound_socket socket;
	const struct inherited_socket *inherited; /* that the socket was; NULL = opened by us */
	struct acceptor acceptor;                 /* of a stream's socket */
	struct event *event;                      /* of a datagram socket */
	int halvings;                             /* of its batches, see datagrams_receive() */
	/* Of a multicast group: tries again while its network is not there, and sees it go. */
	struct event *watch;
	int absent; /* errno of the last bind or join, while that has failed; else 0 */
	/* By the change that is being prepared: */
	bool kept;
	struct wire_protocol
	    protocol;               /* of new clients from then on; present clients keep theirs */
	bool replaced;              /* a new one has its port or path already */
	struct listener *successor; /* takes over its clients; NULL = they leave */
};

/*
 * Bound and ready, but not served yet: nothing is accepted. A multicast group whose interface or route is not there
 * yet waits for it. NULL with errno and the error.
 */
struct listener *listener_new(struct loop *loop, const struct endpoint *wanted,
    const struct socket_options *options, struct error *error);

/*
 * A listener without a socket, for an address of a name that cannot be bound here, with the errno of that failure.
 * NULL with the error when out of memory.
 */
struct listener *listener_absent(struct loop *loop, const struct endpoint *wanted,
    const struct socket_options *options, int reason, struct error *error);

/* Whether a reload has to open it anew: it has no socket and waits for none, or clients can no longer reach it. */
bool listener_needs_socket(const struct listener *listener);

/*
 * Shows what listener_new() would make, by a listener that has no socket and cannot be served. NULL with errno and
 * the error when listener_new() would fail.
 */
struct listener *listener_dry_run(struct loop *loop, const struct endpoint *wanted,
    const struct socket_options *options, struct error *error);

/* As listener_new(), with a socket that we were started with, which is the listener's then; or NULL with the error. */
struct listener *listener_adopt(struct loop *loop, struct inherited_socket *inherited,
    const char *interface_name, struct error *error);

/*
 * Serves it for the instance from now on, at the end of its list; it may have served another one. Streams are accepted
 * after the next acceptors_resume(). Logs the address, once it is bound.
 */
void listener_start(struct listener *listener, struct instance *instance);

/* Where it listens; while it has no socket, where it is to. */
const struct endpoint *listener_endpoint(const struct listener *listener);

/* Closes it. Its streams must be gone or have another listener. */
void listener_free(struct listener *listener);

#endif
