/*
 * The inside of a stream, for its own files: stream.c is its life, stream_output.c sends, turn.c serves its input, stream_deadline.c ends it
 * when it takes too long, and stream_list.c shows all streams to others.
 */
#ifndef ECHOD_NET_STREAM_PARTS_H
#define ECHOD_NET_STREAM_PARTS_H

#include <event2/util.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

#include "net/channel.h"
#include "net/close_reason.h"
#include "net/deadline.h"
#include "net/framing.h"
#include "net/handlers.h"
#include "net/peer.h"
#include "net/replies.h"

struct listener;
struct loop;
struct promises;

#define REFUSED_MAX 128 /* clients that linger with a refusal */

#define INPUT_HIGH (128u * 1024)  /* waiting to be served, unless it is one half line */
#define STRANGER_HIGH 1024        /* see stream_output_high() */
#define OUTPUT_MAX (1024u * 1024) /* and one of the longest words on top */

/*
 * Where a stream is in its life; it is in instance->streams all the while.
 *
 *             what happens                       deadlines
 *   PREFACE   a proxy announces the client, see  arrival_deadline()
 *             arrival.c
 *   HANDSHAKE that of TLS, see arrival.c         arrival_deadline()
 *   SERVING   messages are served                idle_timeout and line_timeout, unless a commit is awaited;
 *                                                STALL_MS for output without progress
 *   DRAINING  what had arrived when it began is  the same
 *             answered
 *   CLOSING   what is answered is sent; input    the same
 *             is dropped
 *   LINGERING the client's EOF is awaited        LINGER_MS
 */
enum stream_phase {
	PHASE_PREFACE,
	PHASE_HANDSHAKE,
	PHASE_SERVING,
	PHASE_DRAINING,
	PHASE_CLOSING,
	PHASE_LINGERING
};

struct stream {
	TAILQ_ENTRY(stream) entry;
	struct deadline deadline;
	struct instance *instance;
	struct listener *listener;
	const struct handlers *handlers;
	struct channel channel;
	struct promises *promises; /* replies that wait for a commit; NULL = there are none */
	int64_t opened;            /* ms */
	int64_t active;            /* ms, the last byte in or out */
	int64_t line_since;        /* ms, when the half-sent line began; 0 = there is none */
	int64_t moved; /* ms, the last progress of pending output; or when the phase began */
	uint64_t id, bytes_in, bytes_out;
	struct peer peer;
	struct peer proxy;  /* that has announced it; family 0 = none has */
	uint32_t acked;     /* at the last check, bytes_out without those in the kernel's queue */
	uint32_t undrained; /* DRAINING: bytes that the kernel had when it began, and still has */
	uint8_t reason;     /* enum close_reason, from DRAINING on */
	uint8_t limit;      /* enum limit that it is refused for */
	uint8_t pending_place; /* its place in loop->pending_writes, from 1; 0 = it has none */
	uint8_t phase : 3;     /* enum stream_phase */
	bool acked_valid : 1;  /* nothing was sent since */
	bool refused : 1;      /* begins with PHASE_CLOSING; only loop->refused counts it */
	bool wants_tls : 1;    /* at first */
	bool unknown : 1; /* a proxy has not announced the client yet: its source is not counted */
	bool served : 1;  /* the service knows it: `open` was called */
	bool more : 1;    /* whole messages wait in the input for the next turn */
	bool unfinished : 1; /* the service has more parts of a reply, see struct run */
	bool producing : 1;  /* the service may have more to say once there is room */
	bool waits : 1;      /* the service does, see VERDICT_WAIT */
	bool is_stranger : 1;
	bool is_proxied : 1; /* it began with PHASE_PREFACE */
	uint64_t state[];    /* of the framing, then of the service */
};

/* How many words of stream.state are the framing's. */
static inline size_t stream_framing_words(const struct handlers *handlers)
{
	size_t size = handlers->framing == NULL ? 0 : handlers->framing->state_size;

	return (size + sizeof(uint64_t) - 1) / sizeof(uint64_t);
}

/* While more bytes than this wait to be sent, the client is not read and its messages are not answered. */
static inline size_t stream_output_high(const struct stream *s)
{
	return s->is_stranger ? STRANGER_HIGH : REPLIES_HIGH;
}

/* --- stream.c --- */

/* The read event's callback; a deadline's check reads by it, too. May end the stream. */
void stream_readable_cb(evutil_socket_t fd, short events, void *bev);

/* The end by a reset, so that the client does not take what it has got for all. */
void stream_reset(struct stream *s);

/* The end, whatever the reason; the stream is no more when it returns. */
void stream_end(struct stream *s, enum close_reason reason);

/* Adds the text of the service for a client that exceeds a limit, if it can be sent without TLS. */
void stream_say_refusal(struct stream *s);

/* From now on input is dropped, and the stream ends once its output is sent. May end it. */
void stream_close(struct stream *s, enum close_reason reason);

/* Answers what the client has sent, then closes; may end the stream. */
void stream_drain(struct stream *s, enum close_reason reason);

/* --- stream_output.c --- */

/* Bytes that the client has not been sent yet, with those that wait for a commit. */
size_t stream_unsent(const struct stream *s);

/* Writes what the socket takes, at most about so much. 0, or -1 when the stream has ended, or is about to. */
int stream_write(struct stream *s, size_t most);

/* Sends what there is to send, and decides what the stream waits for next; may end the stream. */
void stream_flush(struct stream *s);
/* The same at the end of the loop's turn, or now; may end the stream. */
void stream_flush_later(struct stream *s);

/* Counts served input and sends the short replies if it is time. May end any stream: for callbacks of the loop. */
void streams_flush_if_due(struct loop *loop, size_t served);

/*
 * TLS has failed and told the client, and has dropped the output. Nothing must be added to it but for a client that
 * speaks plain text: the channel is plain now. May end the stream.
 */
void stream_fail_tls(struct stream *s);

/* --- turn.c --- */

/* Serves the input, at most a turn's worth. VERDICT_CLOSE: the input has ended, and the service has answered it. */
enum verdict turn_run(struct stream *s);

/* --- stream_list.c --- */

/* Logs, counts and remembers the end of a stream. */
void stream_record_end(const struct stream *s, enum close_reason reason);

/* --- stream_deadline.c --- */

/* Bytes in the kernel: SIOCINQ, for us to read, or SIOCOUTQ, for the client. */
int stream_queue_length(const struct stream *s, unsigned long queue);

/* Schedules the next stream_check(): at the next deadline, or sooner where a check has to look for progress. */
void stream_schedule_check(struct stream *s, int64_t now);

#endif
