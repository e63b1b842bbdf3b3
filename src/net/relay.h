/*
 * A relay: joins a client with a program of its own over a socketpair. It lives as long as its
 * stream. Neither side is read faster than the other one takes it, and the end of either is passed
 * on.
 */
#ifndef ECHOD_NET_RELAY_H
#define ECHOD_NET_RELAY_H

#include <stdbool.h>
#include <stdint.h>

struct evbuffer;
struct relay;
struct stream;
struct strings;

/*
 * Starts the program (its name, then its arguments) for the client; after timeout_ms (0 = never)
 * it is ended. NULL when it cannot be started, which is in the log then.
 */
struct relay *relay_new(struct stream *client, const struct strings *command, int64_t timeout_ms);
/* The client has gone: so has the program, soon. NULL is fine. */
void relay_free(struct relay *relay);

/*
 * Gives input to the program; what it does not take yet is left in place, and the stream resumed
 * later.
 */
void relay_give(struct relay *relay, struct evbuffer *in);
/* There will be no more input. */
void relay_end_input(struct relay *relay);
/*
 * Whether the program is working: it has written output that is not read yet, or has read some of its input since
 * the last call.
 */
bool relay_is_busy(struct relay *relay);
/* The client has taken what was held up: reads on from the program. */
void relay_resume(struct relay *relay);

#endif
