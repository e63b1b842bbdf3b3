/*
 * Datagrams in batches: one recvmmsg, the guards, the service, one sendmmsg. A reply leaves from the
 * address that the request was sent to.
 */
#ifndef ECHOD_NET_DATAGRAM_H
#define ECHOD_NET_DATAGRAM_H

struct bound_socket;
struct instance;

/* The buffers of one batch; all sockets of a loop share them. Freed with free(3). NULL when out of memory. */
struct datagram_batch;
struct datagram_batch *datagram_batch_new(void);

/*
 * Receives and answers one batch. A batch is received in pieces; how often they are halved is kept for the socket
 * in *halvings, 0 at first.
 */
void datagrams_receive(struct instance *instance, const struct bound_socket *socket, int *halvings);

#endif
