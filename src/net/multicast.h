/*
 * Addresses that mean something on one interface only: multicast groups, link-local and broadcast
 * addresses; and how a socket joins a group.
 */
#ifndef ECHOD_NET_MULTICAST_H
#define ECHOD_NET_MULTICAST_H

#include <stdbool.h>
#include <sys/socket.h>

struct address;

bool multicast_is_group(const struct sockaddr *address);

/* Whether an interface can stand for the route to it: a group, limited broadcast, link-local. */
bool multicast_uses_interface(const struct sockaddr *address);

/* The same of a config's address; false for a name, which has to be resolved first. */
bool multicast_names_group(const struct address *address);
/* An IPv6 link-local address or group without a zone (%eth0): it needs an interface. */
bool multicast_needs_interface(const struct address *address);

/*
 * Joins the group on the interface of that index (0 = the kernel's choice). The socket receives only groups
 * that it has joined itself. 0, or -1 with errno.
 */
int multicast_join(int fd, const struct sockaddr *group, socklen_t length, unsigned interface);

/* Leaves the group on the interface with that index; a failure does not matter. */
void multicast_leave(int fd, const struct sockaddr *group, socklen_t length, unsigned interface);

/* The index of the interface on which the socket has joined the group; 0 = none was found. */
unsigned multicast_interface(int fd, const struct sockaddr *group, socklen_t length);

/*
 * Whether anybody is a member on that interface, by the tables in /proc/self/net; true where those cannot be read. The
 * socket still believes so when the interface has forgotten it and has its index all the same.
 */
bool multicast_is_joined(const struct sockaddr *group, unsigned interface);

/* Whether a failed bind or join may work later: there is no such interface or route yet. */
bool multicast_is_absent(int error);

#endif
