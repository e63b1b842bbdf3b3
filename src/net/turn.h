/* A turn: what a stream has received is cut into messages, and the service answers them. A turn ends no stream. */
#ifndef ECHOD_NET_TURN_H
#define ECHOD_NET_TURN_H

#include "net/handlers.h"

/* Serves the input, at most a turn's worth of it. VERDICT_CLOSE: the input has ended, and all of it is answered. */
enum verdict turn_run(struct stream *stream);

#endif
