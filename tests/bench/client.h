/*
 * One connection of the load, a closed loop: it sends a window of requests at once, takes the
 * answers, and sends the next window when all have come. A stream or, connected as well, a socket
 * for datagrams. Owns its descriptor and its buffers.
 */
#ifndef ECHOD_BENCH_CLIENT_H
#define ECHOD_BENCH_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "histogram.h"
#include "workload.h"

struct endpoint;

#define WINDOW_MAX 1024

/* What all clients share. */
struct load {
	struct workload workload;
	unsigned window;    /* requests of a client that are under way at once */
	uint64_t remaining; /* requests that may still be sent */
	uint64_t errors;    /* answers that were wrong or did not come */
	struct histogram latency;
};

struct client {
	struct load *load;
	int fd; /* -1 once it has failed */
	bool datagrams;
	struct ssl_st *tls;            /* NULL = plain */
	bool blocked;                  /* the socket has not taken the whole window yet */
	unsigned asked;                /* requests of the current window */
	unsigned correct;              /* answers to them */
	size_t unsent, sent, received; /* bytes of the window */
	uint64_t started;              /* ns, when the window was sent */
	uint64_t *numbers;             /* of its requests */
	char *requests, *answers;
};

/* Nanoseconds on the monotonic clock. */
uint64_t now_ns(void);

/* Connects, and waits for the greeting. 0, or -1 with errno; then there is nothing to close. */
int client_open(struct client *client, struct load *load, const struct endpoint *to);
void client_close(struct client *client);

/* Sends a window, if there are requests left to send. */
void client_ask(struct client *client);

/* The socket is ready: goes on with what it was at. Afterwards `fd` may be -1. */
void client_ready(struct client *client);

/*
 * Gives up what was not answered for long: a datagram can get lost, and is asked for anew; a stream has
 * failed, and `fd` is -1 afterwards.
 */
void client_check(struct client *client, uint64_t now);

#endif
