/*
 * Arrivals: clients that are here and not served yet, because a proxy has not announced them, or their TLS handshake is
 * not over. Bounds what they cost the others: work per turn of the loop, their number, and the time that each has.
 */
#ifndef ECHOD_NET_ARRIVAL_H
#define ECHOD_NET_ARRIVAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/source.h"

struct stream;

/* All those of a loop; zeroed = there are none. */
struct arrivals {
	size_t count;
	struct sources sources;
	int steps; /* of handshakes, in this turn of the loop; streams_flush_cb() ends the turn */
};

/* The stream's client is known. With `tls` it begins its handshake, without it has arrived. 0, or -1 when out of memory. */
int arrival_begin(struct stream *s, bool tls);
/* Awaits the header in which a proxy announces the client of a stream that was just accepted. */
void arrival_await_header(struct stream *s);
/*
 * Reads the part of that header that has arrived, but no byte behind it. True = the client is admitted, and
 * arrival_begin() has been called. Otherwise it may have ended the stream.
 */
bool arrival_read_header(struct stream *s);
/* That header has not come in time. */
void arrival_log_late(struct stream *s);
/* The client is about to be served: logs whom its certificate names. */
void arrival_succeed(struct stream *s);
/* The client will not be served; does nothing for one that is not arriving. */
void arrival_end(struct stream *s);

/* Whether it may take the next step of its handshake in this turn; epoll reports it again in the next one. */
bool arrival_may_step(struct stream *s);

/* When it must be over, ms. */
int64_t arrival_deadline(const struct stream *s);
/* Whether that is sooner than usual, because there are too many others. */
bool arrival_is_crowded(const struct stream *s);

#endif
