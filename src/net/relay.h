/*
 * A relay: joins a client with a program of its own over a socketpair. It lives as long as its
 * stream. Neither side is read faster than the other one reads, and the end of either is passed
 * on. All but the start of it are handlers of a service (net/handlers.h), with a struct relay_client per stream.
 */
#ifndef ECHOD_NET_RELAY_H
#define ECHOD_NET_RELAY_H

#include <stdbool.h>
#include <stdint.h>

#include "net/handlers.h"

struct strings;

/* A client's state. */
struct relay_client {
	struct relay *relay; /* NULL = its program could not be started */
};

/*
 * Starts the program (its name, then its arguments) for the client; after timeout_ms (0 = never)
 * it is ended. VERDICT_CLOSE when it cannot be started, which is in the log then.
 */
enum verdict relay_start(struct stream *client, const struct strings *command, int64_t timeout_ms);
/* The client has gone: so has the program, soon. */
void relay_close(struct stream *client);

/* Writes input to the program; the rest stays in place until the program has read, which resumes the stream. */
enum verdict relay_bytes(struct stream *client, struct evbuffer *in, struct evbuffer *out);
/* There will be no more input. */
enum verdict relay_eof(struct stream *client, struct evbuffer *out);
/*
 * Whether the program is working: it has written output that is not read yet, or has read some of its input since
 * the last call.
 */
bool relay_busy(struct stream *client);
/* The client has read the output that was held up: reads on from the program. */
enum verdict relay_writable(struct stream *client, struct evbuffer *out);

#endif
