/*
 * An outlet: the sockets that datagrams leave by, one per address family, opened when the first
 * datagram of the family does. Nothing is ever read from them.
 */
#ifndef ECHOD_NET_OUTLET_H
#define ECHOD_NET_OUTLET_H

#include <stddef.h>

struct endpoint;

enum outlet_family { OUTLET_IPV4, OUTLET_IPV6, OUTLET_UNIX, OUTLET_FAMILIES };

struct outlet {
	int sockets[OUTLET_FAMILIES]; /* -1 = not open yet */
	int ttl;                      /* of multicast */
};

void outlet_open(struct outlet *outlet, int ttl);
void outlet_close(struct outlet *outlet);

/*
 * Sends to one machine, a group, or, as broadcast, to all. Groups, limited broadcast and link-local
 * addresses use the interface of that name; NULL = as routed. `bytes` are only read. 0, or -1 with errno.
 */
int outlet_send(struct outlet *outlet, const struct endpoint *to, const char *interface,
    void *bytes, size_t length);

#endif
