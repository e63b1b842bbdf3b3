/*
 * Opens, adopts, probes and closes sockets that are bound to an endpoint. Knows nothing of events and services.
 */
#ifndef ECHOD_NET_SOCKET_H
#define ECHOD_NET_SOCKET_H

#include <net/if.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "net/endpoint.h"

struct error;

struct socket_options {
	int backlog;
	bool ipv6_only;
	bool freebind; /* the address may come later */
	mode_t unix_mode;
	bool silent;                 /* bound only: no client can connect */
	int keepalive;               /* of TCP: seconds until the first probe; 0 = there is none */
	bool beside;                 /* sockets that socket_share() has made share their port */
	char interface[IF_NAMESIZE]; /* that a multicast group is joined on; "" = as routed */
};

/* A bound (and, if it is a stream's, listening) socket; the owner closes it with socket_close(). */
struct bound_socket {
	int fd;
	struct endpoint endpoint; /* with the real port */
	dev_t device;             /* of a Unix path: whether it is still ours when we leave */
	ino_t inode;              /* 0 = it has none, or it could not be seen */
	bool adopted;             /* its path is somebody else's to remove */
	unsigned interface;       /* index, where a group was joined; 0 = none, or unknown */
};

/*
 * Opens, binds and listens; non-blocking and close-on-exec. A stale Unix path is replaced, a live
 * server's never; a multicast group is joined. 0, or -1 with errno and an error that names the call that
 * failed.
 */
int socket_open(struct bound_socket *socket, const struct endpoint *wanted,
    const struct socket_options *options, struct error *error);

/*
 * Adopts a socket that another process has bound, and that listens if it is a stream's. A group is joined on the
 * interface ("" = as routed). The other process keeps its Unix path. 0, and the socket owns the descriptor; or -1 with
 * the error, and the caller still does.
 */
int socket_adopt(
    struct bound_socket *socket, int fd, const char *interface_name, struct error *error);

/*
 * Whether socket_open() would work, as far as that can be tried without side effects: it connects to no peer, and closes
 * at once what it has bound. 0, or -1 as above.
 */
int socket_probe(
    const struct endpoint *wanted, const struct socket_options *options, struct error *error);

/* Sets an option whose value is an int. 0, or -1 with errno. */
int socket_set_int(int fd, int level, int name, int value);

/* Sets when the kernel probes this TCP client, or those accepted from now on; 0 = never. 0, or -1 with errno. */
int socket_set_keepalive(int fd, int seconds);

/* Sets the options that clients inherit from a TCP listener, for one that was queued before they were set. */
void socket_set_client_options(int fd, int keepalive);

/* How many clients wait in the queue of a TCP listener. */
unsigned socket_queue_length(int fd);

/*
 * Whether the socket lets others be bound to its port, from now on: only those of the same user that are
 * opened with socket_options.beside. One that has been opened like that shares no longer. 0, or -1 with errno.
 */
int socket_share(const struct bound_socket *socket, bool share);

/*
 * Whether the kernel lets only one of them be bound: the same path or name, or the same port, and one address
 * within the other.
 */
bool sockets_collide(const struct endpoint *a, const struct socket_options *a_options,
    const struct endpoint *b, const struct socket_options *b_options);

/* Whether it is a multicast group: a UDP one, since only datagrams go to groups. */
bool endpoint_is_group(const struct endpoint *endpoint);

/*
 * Whether the interface of its group is gone, or another one has its name now ("" = the name does not matter). The
 * kernel has then dropped the membership.
 */
bool socket_has_lost_group(const struct bound_socket *socket, const char *interface_name);
/* Joins the group anew, for a socket that we cannot open anew. 0, or -1 with errno. */
int socket_join_again(struct bound_socket *socket, const char *interface_name);

/*
 * Whether clients can reach it: false if its Unix path was removed or replaced, or the interface of its link-local
 * address is gone. Always true for a group.
 */
bool socket_is_reachable(const struct bound_socket *socket);

/* Closes it and removes its Unix path if that is still ours. */
void socket_close(struct bound_socket *socket);

#endif
