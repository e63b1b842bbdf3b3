/*
 * The output of streams. Two measures make bufferevents as fast as a bare epoll loop, besides channel.c's:
 *
 * 1. Replies are written without waiting for the socket. EV_WRITE is enabled only for what the socket did not take, which
 *    saves two epoll_ctl calls and a turn of the loop per reply.
 * 2. Short replies of many clients leave together, at the end of the turn or after FLUSH_AFTER bytes of other clients.
 *    If these clients are one process, the first reply wakes it and it finds the others as well; the wake-up is what
 *    costs most.
 */
#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <limits.h>

#include "core/clock.h"
#include "net/instance.h"
#include "net/loop.h"
#include "net/replies.h"
#include "net/stream.h"
#include "net/stream_parts.h"

/* Short replies wait until so many bytes were served: a cache full, and a millisecond's work. */
#define FLUSH_AFTER (128u * 1024)
#define CLIENT_COST 4096u /* what serving a client counts for, besides its input */

size_t stream_unsent(const struct stream *s)
{
	size_t unsent = evbuffer_get_length(bufferevent_get_output(s->channel.bev));

	return s->promises == NULL ? unsent : unsent + promises_unsent(s->promises);
}

bool stream_has_room(const struct stream *s)
{
	return stream_unsent(s) <= REPLIES_HIGH;
}

void stream_fail_tls(struct stream *s)
{
	bool is_plain = s->channel.tls_cause == TLS_PLAIN_TEXT;

	promises_free(s->promises);
	s->promises = NULL;
	if (is_plain)
		evbuffer_add_printf(bufferevent_get_output(s->channel.bev),
		    "%s this port speaks TLS\r\n",
		    s->handlers == s->instance->handlers->resp ? "-ERR" : "ERROR:");
	stream_close(s, is_plain ? CLOSE_PROTOCOL : CLOSE_TLS);
}

int stream_write(struct stream *s, size_t most)
{
	size_t piece = s->channel.piece, sent = 0;
	const struct evbuffer *out = bufferevent_get_output(s->channel.bev);
	ssize_t n;

	if (piece > most)
		piece = most;
	do {
		if (evbuffer_get_length(out) == 0)
			return 0;
		n = s->channel.ops->send(&s->channel, piece);
		if (n <= 0)
			break;
		sent += (size_t)n;
		s->acked_valid = false;
		s->bytes_out += (size_t)n;
		s->instance->counters.bytes_out += (size_t)n;
	} while (n == (ssize_t)piece && sent < most);
	if (n > 0 || (n == -1 && (errno == EAGAIN || errno == EINTR)))
		return 0;
	if (errno == EPROTO && n == -1)
		stream_fail_tls(s);
	else if (n == 0)
		stream_reset(s); /* a file was cut short, and must not be taken for whole */
	else /* a client that resets after our goodbye has still been given its reason */
		stream_end(s, s->phase == PHASE_LINGERING ? s->reason : CLOSE_RESET);
	return -1;
}

/* All is sent. Waits for the client's EOF, because closing with unread input would reset the connection. */
static void linger(struct stream *s)
{
	struct channel *channel = &s->channel;
	bool finished = true;

	/* close(2) says goodbye as well, but not in TLS. */
	if (s->phase != PHASE_LINGERING && (!channel->eof || channel->tls != NULL))
		finished = channel->ops->finish(channel);
	if (finished && channel->eof) {
		stream_end(s, s->reason);
	} else if (s->phase != PHASE_LINGERING) {
		if (!finished && channel_poll(channel, channel->reading, true) == -1) {
			stream_end(s, CLOSE_RESET);
			return;
		}
		s->phase = finished ? PHASE_LINGERING : PHASE_CLOSING;
		s->moved = clock_ms();
		stream_schedule_check(s, s->moved);
	}
}

void stream_flush(struct stream *s)
{
	struct channel *channel = &s->channel;
	size_t unread = evbuffer_get_length(bufferevent_get_input(channel->bev)), left, unsent;
	bool read, write;

	if (!channel->writing && stream_write(s, SSIZE_MAX) == -1)
		return;
	left = unsent = evbuffer_get_length(bufferevent_get_output(channel->bev));
	if (s->promises != NULL)
		unsent += promises_unsent(s->promises);
	if (left > OUTPUT_MAX + s->instance->max_word) {
		stream_end(s, CLOSE_SLOW_READER);
		return;
	}
	/* Half a line is read on, however long it is: only its end lets it be served, and the framing limits it. */
	read = !s->waits && (unread <= INPUT_HIGH || (s->handlers->framing != NULL && !s->more));
	read = !channel->eof && !channel->wants_write && !channel->in_record &&
	       (s->phase >= PHASE_CLOSING || (read && unsent <= stream_output_high(s)));
	write = left > 0 || s->producing || channel->wants_write;
	if (write && !channel->writing && s->phase != PHASE_HANDSHAKE)
		s->moved = clock_ms();
	if (read && !channel->reading && s->line_since != 0)
		s->line_since = clock_ms(); /* while we did not read, the line could not end */
	if ((read != channel->reading || write != channel->writing) &&
	    channel_poll(channel, read, write) == -1) {
		stream_end(s, CLOSE_RESET);
		return;
	}
	if (s->more && unsent <= stream_output_high(s))
		channel_again(channel); /* after the other clients of this turn */
	if (unsent == 0 && s->phase >= PHASE_CLOSING)
		linger(s);
	else if (write || !read || s->line_since != 0)
		stream_schedule_check(s, s->active);
}

static void flush_all(struct loop *loop)
{
	for (size_t i = 0; i < loop->pending_count; i++) {
		struct stream *s = loop->pending_writes[i];

		if (s == NULL)
			continue;
		s->pending_place = 0;
		stream_flush(s);
	}
	loop->pending_count = loop->bytes_since_flush = 0;
}

void streams_flush_cb(int fd, short events, void *arg)
{
	struct loop *loop = arg;

	(void)fd;
	(void)events;
	flush_all(loop);
	loop->arrivals.steps = 0;
}

void stream_flush_later(struct stream *s)
{
	struct loop *loop = s->instance->loop;

	if (s->pending_place != 0)
		return;
	if (loop->pending_count == PENDING_WRITES_MAX) {
		stream_flush(s);
		return;
	}
	if (loop->pending_count == 0)
		event_active(loop->flush, EV_SIGNAL, 0);
	loop->pending_writes[loop->pending_count++] = s;
	s->pending_place = (uint8_t)loop->pending_count;
}

void streams_flush_if_due(struct loop *loop, size_t served)
{
	loop->bytes_since_flush += served + CLIENT_COST;
	if (loop->bytes_since_flush > FLUSH_AFTER)
		flush_all(loop);
}
