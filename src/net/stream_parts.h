/*
 * The inside of a stream, for its three files only: stream.c moves its bytes, stream_life.c creates and ends it, and
 * stream_deadline.c ends it when it takes too long.
 */
#ifndef ECHOD_NET_STREAM_PARTS_H
#define ECHOD_NET_STREAM_PARTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "net/deadline.h"
#include "net/instance.h"
#include "net/lines.h"
#include "net/peer.h"

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
	int64_t moved;      /* ms, last progress of pending output; when lingering, since when */
	uint64_t id, bytes_in, bytes_made, bytes_gone;
	struct peer peer;
	uint8_t reason;               /* enum close_reason, once it is closing */
	uint8_t limit;                /* enum limit that it is refused for */
	uint32_t acked;               /* bytes_gone without the kernel's queue, at the last check */
	bool looked : 1;              /* `acked` is valid: nothing was sent since */
	bool telnet : 1, refused : 1; /* what it is */
	bool reading : 1, writing : 1; /* what the bufferevent waits for */
	bool bulk : 1;                 /* the last read was full: the next one takes more */
	bool producing : 1;            /* the service may have more to say once there is room */
	bool more : 1;                 /* complete lines wait in the input for the next turn */
	bool held : 1;                 /* by VERDICT_HOLD: nothing is read or sent */
	bool answered : 1;             /* its output leaves at the end of the turn */
	bool eof : 1;                  /* from the client */
	bool draining : 1;             /* closes once its input is answered, for `reason` */
	bool undrained : 1; /* held when the drain began: the kernel's queue is not read yet */
	bool closing : 1;   /* closes once its output is sent; input is dropped */
	bool lingering : 1; /* the output is sent: waits for the client's EOF */
	max_align_t state[];
};

/* --- stream_life.c --- */

/* The end, whatever the reason; the stream is no more when it returns. */
void stream_end(struct stream *s, enum close_reason reason);

/* Takes it off the loop's list of those whose output leaves at the end of the turn. */
void stream_forget_answered(struct stream *s);

/* All is sent: says so to the client, and waits for its EOF lest unread input resets the connection. */
void stream_linger(struct stream *s);

/* Counts the output that was sent since the last call; false = none was. */
bool stream_count_gone(struct stream *s);

/* --- stream_deadline.c --- */

/* Neither EV_READ nor EV_WRITE is armed, so epoll would not report a hang-up. */
bool stream_is_unpolled(const struct stream *s);

/* Schedules the next stream_check(): at the next deadline, or sooner where a check has to look for progress. */
void stream_file_deadline(struct stream *s, int64_t now);

/* --- stream.c --- */

/* Reads once and serves what was read. Returns the number of bytes, 0 at EOF and on errors. May end the stream. */
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
