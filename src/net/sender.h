/*
 * A sender: sends a datagram to a list of addresses (unicast, broadcast, multicast, Unix) at every
 * interval. Owns the timer, the sockets and the lookups of names. An address that cannot be reached
 * is tried again at the next interval; the log says when that begins and when it is over.
 */
#ifndef ECHOD_NET_SENDER_H
#define ECHOD_NET_SENDER_H

#include <stddef.h>
#include <stdint.h>

struct address;
struct addresses;
struct instance;
struct sender;

#define SENDER_PAYLOAD_MAX 65507 /* bytes: what a UDP datagram can carry */

/* What the pointers show to belongs to the config and must live until other settings are given. */
struct sender_settings {
	const struct addresses *to;
	int64_t interval;      /* ms */
	int ttl;               /* of multicast */
	const char *interface; /* for groups, limited broadcast and link-local; NULL = as routed */
	/* Fills in the bytes to be sent now and returns their number. */
	size_t (*payload)(const struct instance *instance, char *to, size_t size);
};

/* Why it is no address to send to, a constant text; NULL = it is one. */
const char *sender_refuses(const struct address *address, const char *interface);

/* Sends for the first time as soon as the loop runs. NULL when out of memory. */
struct sender *sender_new(struct instance *instance, const struct sender_settings *settings);

/* From the next interval on, which is counted from the last one. */
void sender_configure(struct sender *sender, const struct sender_settings *settings);

/* What is wrong with the n-th address of the settings; NULL = nothing, as far as is known. */
const char *sender_trouble(const struct sender *sender, size_t n);

void sender_free(struct sender *sender);

#endif
