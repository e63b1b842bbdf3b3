/*
 * Datagrams in batches: one recvmmsg, the guards, the service, one sendmmsg. Answers leave from the
 * address that was asked.
 */
#ifndef ECHOD_NET_DATAGRAM_H
#define ECHOD_NET_DATAGRAM_H

#include "net/guard.h"

struct instance;
struct listener;

/* The buffers of one batch; all listeners of a loop share them. NULL when out of memory. */
struct datagram_batch;
struct datagram_batch *datagram_batch_new(void);
void datagram_batch_free(struct datagram_batch *batch);

/* What the guards go by for the instance. */
struct guard_rules datagram_rules(const struct instance *instance);

/* Reads and answers one batch. */
void datagram_receive(struct listener *listener);

#endif
