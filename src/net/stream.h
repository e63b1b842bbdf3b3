/*
 * A stream: one client on a TCP or Unix socket, from its accept to its one close reason. It owns its channel. Only this
 * module ends a stream; services return verdicts.
 */
#ifndef ECHOD_NET_STREAM_H
#define ECHOD_NET_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "net/close_reason.h"
#include "net/handlers.h"

struct client;
struct deadline;
struct evbuffer;
struct instance;
struct listener;
struct loop;
struct peer;
struct tls_identity;
struct ucred;

/* The kernel reports a piece on a Unix socket as read only when the client has read all of it. */
#define STREAM_UNIX_PIECE (32u * 1024)

/*
 * A client that admission_enter() has let in. Takes the descriptor in any case; on failure (memory, epoll) it is
 * closed and counted.
 */
void stream_open(
    struct instance *instance, struct listener *listener, int fd, const struct peer *peer);

/* Sends the refusal to a client that exceeds the limit, and closes it with lingering. Not counted as a client. */
void stream_refuse(struct instance *instance, struct listener *listener, int fd,
    const struct peer *peer, enum limit limit);

/* Closes a client at once, without a reply; counts, logs and remembers it. `limit`: for CLOSE_LIMIT. */
void stream_turn_away(struct instance *instance, int fd, const struct peer *peer,
    enum close_reason reason, enum limit limit);

/* Ends the instance's streams gracefully: what they have sent is answered, what is buffered is sent. */
void streams_drain(struct instance *instance, enum close_reason reason);
/* The same for those of one listener, which is about to leave the instance. */
void streams_leave(
    struct instance *instance, const struct listener *listener, enum close_reason reason);
/* Moves the streams of one listener to another one. */
void streams_move(struct instance *instance, const struct listener *from, struct listener *to);
/* Applies a keepalive, as socket_set_keepalive() takes it, to the streams of one listener. */
void streams_keepalive(
    const struct instance *instance, const struct listener *listener, int seconds);
/* Ends all streams of the instance at once. */
void streams_abort(struct instance *instance, enum close_reason reason);
/*
 * Applies the settings of an instance that is new or was configured anew: ends streams that the access rules deny,
 * schedules the deadlines of the others, and counts the clients of each source anew if source_prefix has changed.
 */
void streams_recheck(struct instance *instance);

/*
 * Keeps the promises of commits up to `committed`, replaces those of all others up to `through` by the failure of
 * their handlers, and sends what is known then at the end of the turn. A stream that there is no memory for ends.
 */
void streams_resolve(struct instance *instance, uint64_t committed, uint64_t through);

/*
 * For a service that speaks outside of its handlers: moves the bytes (NULL = none) behind the output, and behind replies
 * that wait for a commit, and applies the verdict, which may end the stream (and call the close handler) before this
 * returns.
 */
void stream_send(struct stream *stream, struct evbuffer *bytes, enum verdict verdict);
/* Whether it takes what stream_send() sends. */
bool stream_is_open(const struct stream *stream);
/* Ends it at once, because the service has too much for it that it does not read. */
void stream_end_slow_reader(struct stream *stream);
/*
 * Moves all bytes to the end of `to`. If it is not empty, a short piece is copied: otherwise each piece would keep a
 * chunk of memory that can be thousands of times its size. 0, or -1 when out of memory.
 */
int stream_move(struct evbuffer *to, struct evbuffer *bytes);
/*
 * The client has not shown who it is (or has): only a little output may wait for it, and its requests in RESP have to be
 * short, so that many such clients take little memory.
 */
void stream_set_stranger(struct stream *stream, bool is_stranger);
/*
 * Calls the `bytes` handler for the input that it has left, or `messages` after its VERDICT_WAIT; may end the stream,
 * too.
 */
void stream_resume(struct stream *stream);
/* Whether the output may hold parts of files, which the kernel sends; not over TLS. */
bool stream_sends_files(const struct stream *stream);
/* Whether the client keeps up with its output; if not, the `writable` handler is called once it does. */
bool stream_has_room(const struct stream *stream);

/* The service's state of this client: conn_size bytes, zeroed at the start. */
void *stream_state(struct stream *stream);
struct instance *stream_instance(const struct stream *stream);
const struct handlers *stream_handlers(const struct stream *stream);
/* The client, which may be one that a proxy has announced. */
const struct peer *stream_peer(const struct stream *stream);
/* Whether it began with the header of a proxy, even if that announced no client. */
bool stream_is_proxied(const struct stream *stream);
/* Whether the socket is a Unix socket, whatever the client's address. */
bool stream_is_unix(const struct stream *stream);
/* Whom the client's certificate names; false = it has shown none. */
bool stream_identity(const struct stream *stream, struct tls_identity *identity);
/* The address that the client has connected to; returns its length, 0 = it is not known. */
socklen_t stream_local(const struct stream *stream, struct sockaddr_storage *local);

/* --- for an administrator --- */

/* The client of that id among those of all instances; NULL = it is not here (any more). */
struct stream *stream_find(const struct loop *loop, uint64_t id);
void stream_describe(const struct stream *stream, struct client *client);
/* Who is at the other end of a Unix socket. 0, or -1 with errno. */
int stream_credentials(const struct stream *stream, struct ucred *credentials);
/* Ends it at once, as one that the access rules deny. */
void stream_kill(struct stream *stream);

/*
 * An iterator over the clients of all instances. It stays valid across turns of the loop: clients that end meanwhile
 * are skipped.
 */
struct client_iterator {
	LIST_ENTRY(client_iterator) entry; /* in loop->iterators */
	struct instance *instance;         /* NULL = there are no others behind it */
	struct stream *next;               /* of the instance */
};

void client_iterator_begin(struct client_iterator *iterator, struct loop *loop);
/* The next one, valid until the loop goes on; NULL at the end. */
struct stream *client_iterator_next(struct client_iterator *iterator);
void client_iterator_end(struct client_iterator *iterator);

/* Moves the iterators past an instance that is about to leave the loop's list. */
void client_iterators_pass_instance(struct loop *loop, const struct instance *instance);

/* Sends what streams have answered in this turn of the loop; may end any of them. For loop_new(). */
void streams_flush_cb(int fd, short events, void *loop);

/* Ends the stream if a deadline has passed, or schedules the next check. For loop_new(). */
void stream_check(struct deadline *deadline, int64_t now_ms);

#endif
