/*
 * A stream: one client on a TCP or Unix socket, from its accept to its one close reason. Owns the
 * bufferevent and the descriptor; only this module ends a stream, services say verdicts.
 */
#ifndef ECHOD_NET_STREAM_H
#define ECHOD_NET_STREAM_H

#include <stdint.h>
#include <sys/socket.h>

#include "net/instance.h"

struct deadline;

/* Past it a client is not read until it has read; a line service stops answering for the turn. */
#define STREAM_OUTPUT_HIGH (128u * 1024)

/*
 * A client that has been accepted. Takes the descriptor in any case; on failure (memory, epoll) it is
 * closed and counted.
 */
void stream_open(struct instance *instance, struct listener *listener, int fd,
    const struct sockaddr *peer, socklen_t peer_length);

/* A client over a limit: is told the service's refusal and closed lingeringly, in no one's count. */
void stream_refuse(struct instance *instance, struct listener *listener, int fd,
    const struct sockaddr *peer, socklen_t peer_length);

/* Ends the instance's streams gracefully: what they have sent is answered, what is buffered is sent. */
void streams_drain(struct instance *instance, enum close_reason reason);
/* The same for those of one listener, which is about to leave the instance. */
void streams_leave(
    struct instance *instance, const struct listener *listener, enum close_reason reason);
/* Ends them now. */
void streams_abort(struct instance *instance, enum close_reason reason);
/* Ends those that the access rules in force would not let in. */
void streams_recheck(struct instance *instance);

/* Lets the replies go that VERDICT_HOLD kept back, and reads on. */
void stream_release(struct stream *stream);

/* What the service kept for this client: conn_size bytes, zeroed at the start. */
void *stream_state(struct stream *stream);
struct instance *stream_instance(const struct stream *stream);
const struct sockaddr *stream_peer(const struct stream *stream);

/* The deadlines' check of a stream. */
void stream_check(struct deadline *deadline, int64_t now_ms);

#endif
