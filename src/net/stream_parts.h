/*
 * A stream from the inside, for the two files that are it: stream.c, the way of its bytes, and
 * stream_life.c, its beginning, its deadlines and its end. Nobody else includes this.
 */
#ifndef ECHOD_NET_STREAM_PARTS_H
#define ECHOD_NET_STREAM_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/deadline.h"
#include "net/instance.h"
#include "net/lines.h"

struct bufferevent;

struct stream {
	TAILQ_ENTRY(stream) entry;
	TAILQ_ENTRY(stream) answered_entry; /* of the loop's list */
	struct deadline deadline;
	struct instance *instance;
	struct listener *listener;
	const struct handlers *handlers;
	struct bufferevent *bev;
	struct lines lines;
	size_t unread;      /* length of the input when the last turn ended */
	int64_t opened;     /* ms */
	int64_t active;     /* ms, when a byte came or went */
	int64_t line_since; /* ms, when the half-sent line began; 0 = there is none */
	int64_t moved;      /* ms, when output last moved while some waits; when lingering began */
	uint64_t id, bytes_in, bytes_made, bytes_gone;
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} peer;
	uint8_t peer_length;           /* of a Unix client only its family is kept */
	uint8_t reason;                /* enum close_reason, once it is closing */
	uint8_t limit;                 /* enum limit that it is refused for */
	uint32_t acked;                /* bytes_gone without the kernel's queue, at the last look */
	bool looked : 1;               /* nothing has gone since */
	bool telnet : 1, refused : 1;  /* what it is */
	bool reading : 1, writing : 1; /* what the bufferevent waits for */
	bool bulk : 1;                 /* the last read was full: the next one takes more */
	bool producing : 1;            /* the service may have more to say once there is room */
	bool more : 1;                 /* complete lines wait in the input for the next turn */
	bool held : 1;                 /* by VERDICT_HOLD: nothing is read or sent */
	bool answered : 1;             /* its output leaves at the end of the turn */
	bool eof : 1;                  /* from the client */
	bool draining : 1;             /* closes once its input is answered, for `reason` */
	bool undrained : 1; /* it was held then: the kernel's part of it is not read yet */
	bool closing : 1;   /* closes once its output is sent; input is dropped */
	bool lingering : 1; /* it is sent: only the client's EOF is awaited */
	max_align_t state[];
};

/* --- stream_life.c --- */

/* The end, whatever the reason; the stream is no more when it returns. */
void stream_end(struct stream *s, enum close_reason reason);

/* Takes it off the loop's list of those whose output leaves at the end of the turn. */
void stream_forget_answered(struct stream *s);

/* All is sent: says so to the client, and waits for its EOF lest unread input resets the connection. */
void stream_linger(struct stream *s);

/* Neither bytes nor room for some are awaited of the client: epoll would not tell that it has left. */
bool stream_is_deaf(const struct stream *s);

/* Has the stream looked at when its next deadline comes. */
void stream_file_deadline(struct stream *s, int64_t now);

/* Counts what has left since the last look; says whether anything has. */
bool stream_count_gone(struct stream *s);

/* --- stream.c --- */

/*
 * Reads once, and serves it. Returns how many bytes have come; 0 if none, or if that was the end of the input. May
 * end the stream.
 */
size_t stream_read(struct stream *s);

/* Sets a new stream's bufferevent up. */
void stream_attach(struct stream *s);

/* Does what a handler's verdict says, and sends what there is to send; may end the stream. */
void stream_settle(struct stream *s, enum verdict verdict);

/* Sends what there is to send, and settles what the stream waits for next; may end the stream. */
void stream_flush(struct stream *s);

/* From now on input is dropped, and the stream ends once its output is sent. */
void stream_begin_close(struct stream *s, enum close_reason reason);

/* Answers what the client has sent, then closes; may end the stream. */
void stream_drain(struct stream *s, enum close_reason reason);

#endif
