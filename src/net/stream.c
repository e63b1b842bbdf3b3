/*
 * The life of a stream, and the way of its bytes: readable -> turn_run() -> the service -> the output, which
 * stream_output.c sends.
 */
#include "net/stream.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_struct.h>
#include <event2/event.h>
#include <limits.h>
#include <linux/sockios.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "core/clock.h"
#include "net/admission.h"
#include "net/instance.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/replies.h"
#include "net/stream_parts.h"

#define OUTPUT_LOW (64u * 1024) /* the service is asked for more */
#define WRITE_PER_EVENT (256u * 1024)
#define COPY_MAX (16u * 1024) /* shorter pieces share a chunk of the output */

#define COALESCE_MAX (16u * 1024) /* a longer reply does not wait for those of other clients */

/* --- the end --- */

void stream_end(struct stream *s, enum close_reason reason)
{
	struct instance *instance = s->instance;
	struct loop *loop = instance->loop;
	struct client_iterator *iterator;

	if (s->handlers->close != NULL && s->served)
		s->handlers->close(s);
	stream_record_end(s, reason);
	arrival_end(s);
	deadline_cancel(loop->deadlines, &s->deadline);
	if (loop->checked == s)
		loop->checked = NULL;
	LIST_FOREACH (iterator, &loop->iterators, entry)
		if (iterator->next == s)
			iterator->next = TAILQ_NEXT(s, entry);
	if (s->pending_place != 0)
		loop->pending_writes[s->pending_place - 1] = NULL;
	TAILQ_REMOVE(&instance->streams, s, entry);
	if (s->handlers->framing != NULL)
		s->handlers->framing->close(s->state);
	promises_free(s->promises);
	s->channel.ops->close(&s->channel);
	if (s->refused) {
		loop->refused--;
		loop_announce_departure(loop);
	} else if (s->unknown) {
		admission_leave_unknown(instance);
	} else {
		admission_leave(instance, &s->peer);
	}
	free(s);
}

void stream_reset(struct stream *s)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(s->channel.fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	stream_end(s, s->channel.tls_cause == TLS_FINE ? CLOSE_RESET : CLOSE_TLS);
}

/* --- verdicts --- */

/* Input is dropped from now on. */
static void begin_closing(struct stream *s, enum close_reason reason)
{
	struct evbuffer *in = bufferevent_get_input(s->channel.bev);

	arrival_end(s);
	if (s->phase <= PHASE_SERVING)
		s->reason = reason;
	s->phase = PHASE_CLOSING;
	s->more = s->producing = s->waits = false;
	s->line_since = 0;
	evbuffer_drain(in, evbuffer_get_length(in));
}

void stream_close(struct stream *s, enum close_reason reason)
{
	begin_closing(s, reason);
	stream_flush(s);
}

/* Does what a handler's verdict says, and sends what there is to send; may end the stream. */
static void apply_verdict(struct stream *s, enum verdict verdict)
{
	if (verdict == VERDICT_ABORT) {
		stream_reset(s);
		return;
	}
	if (verdict == VERDICT_CLOSE)
		begin_closing(s, CLOSE_QUIT);
	else if (verdict == VERDICT_PROTOCOL)
		begin_closing(s, CLOSE_PROTOCOL);
	else if (verdict == VERDICT_AUTH)
		begin_closing(s, CLOSE_AUTH);
	stream_flush(s);
}

/* After a turn: a short reply waits for those of other clients. */
static void apply_turn(struct stream *s, enum verdict verdict)
{
	if (s->promises != NULL)
		promises_join(s->promises, &s->instance->waiters, s);
	if (verdict == VERDICT_CONTINUE &&
	    evbuffer_get_length(bufferevent_get_output(s->channel.bev)) <= COALESCE_MAX)
		stream_flush_later(s);
	else
		apply_verdict(s, verdict);
}

/* --- events --- */

/* The service gets to know the client. */
static enum verdict begin_serving(struct stream *s)
{
	s->phase = PHASE_SERVING;
	s->served = true;
	s->producing = s->handlers->writable != NULL;
	if (s->handlers->open == NULL)
		return VERDICT_CONTINUE;
	return s->handlers->open(s, bufferevent_get_output(s->channel.bev));
}

/* n: the bytes that were read; 0 = EOF, -1 = none. `poll`: what is polled for has changed. May end the stream. */
static void serve_input(struct stream *s, ssize_t n, bool poll)
{
	bool begins = s->phase == PHASE_HANDSHAKE;
	enum verdict verdict = VERDICT_CONTINUE;

	if (begins || n > 0)
		s->active = clock_ms();
	if (begins) {
		arrival_succeed(s);
		verdict = begin_serving(s);
	}
	if (verdict == VERDICT_CONTINUE && (n > 0 || (n == 0 && !s->more)))
		apply_turn(s, turn_run(s));
	else if (begins || poll)
		apply_turn(s, verdict);
}

/*
 * Serves a piece of what a stream that drains has received before, and more if there is room: an EOF is behind it. May end
 * the stream.
 */
static void read_drained(struct stream *s)
{
	const struct evbuffer *in = bufferevent_get_input(s->channel.bev);
	struct channel *channel = &s->channel;
	ssize_t n;

	do {
		bool fetches = !channel->wants_write;

		n = channel->ops->receive(channel);
		if (n > 0) {
			s->bytes_in += (size_t)n;
			s->instance->counters.bytes_in += (size_t)n;
		}
		if (fetches)
			s->undrained -= channel->fetched == 0 || channel->fetched > s->undrained
					    ? s->undrained
					    : (uint32_t)channel->fetched;
	} while (channel->tls_cause == TLS_FINE && !channel->eof && !channel->in_record &&
		 !channel->wants_write && evbuffer_get_length(in) <= INPUT_HIGH &&
		 (n != -1 || s->undrained > 0));
	s->active = clock_ms();
	if (channel->tls_cause != TLS_FINE)
		stream_fail_tls(s);
	else
		apply_turn(s, turn_run(s));
}

void stream_readable_cb(evutil_socket_t fd, short events, void *bev)
{
	struct stream *s = ((struct bufferevent *)bev)->cbarg;
	struct loop *loop = s->instance->loop;
	struct channel *channel = &s->channel;
	bool is_check = loop->checked == s;  /* which must not end other streams */
	bool blocked = channel->wants_write; /* so far */
	ssize_t n;
	int error;

	(void)fd;
	(void)events;
	if (s->phase == PHASE_PREFACE && !arrival_read_header(s))
		return;
	if (s->phase == PHASE_HANDSHAKE && !arrival_may_step(s))
		return;
	if (s->phase == PHASE_DRAINING && (s->undrained > 0 || blocked)) {
		read_drained(s);
		if (!is_check)
			streams_flush_if_due(loop, INPUT_HIGH);
		return;
	}
	n = channel->ops->receive(channel);
	error = n == -1 ? errno : 0;
	if (n > 0) {
		s->bytes_in += (size_t)n;
		s->instance->counters.bytes_in += (size_t)n;
	}
	if (error == EPROTO) {
		stream_fail_tls(s);
	} else if (error != 0 && error != EAGAIN && error != EINTR) {
		stream_end(s, s->phase == PHASE_LINGERING ? s->reason : CLOSE_RESET);
	} else if (s->phase == PHASE_HANDSHAKE && !channel->established) {
		if (channel->eof)
			stream_end(s, CLOSE_CLIENT_EOF);
		else
			stream_flush(s);
	} else if (s->phase >= PHASE_CLOSING) {
		/* Dropped input does not postpone the idle timeout. */
		struct evbuffer *in = bufferevent_get_input(bev);

		evbuffer_drain(in, evbuffer_get_length(in));
		if (channel->eof || blocked || channel->wants_write)
			stream_flush(s);
	} else {
		serve_input(s, n, blocked || channel->wants_write);
	}
	if (!is_check)
		streams_flush_if_due(loop, n > 0 ? (size_t)n : 0);
}

/* The next turn of a stream that has more. */
static void again_cb(struct bufferevent *bev, void *arg)
{
	struct stream *s = arg;
	struct loop *loop = s->instance->loop;

	(void)bev;
	if (s->phase < PHASE_CLOSING)
		apply_turn(s, turn_run(s));
	streams_flush_if_due(loop, CHANNEL_READ_LARGE);
}

/* The socket takes more. If the output is short, the service may add to it, and is called again once that is sent. */
static void writable_cb(evutil_socket_t fd, short events, void *bev)
{
	struct stream *s = ((struct bufferevent *)bev)->cbarg;
	struct evbuffer *out = bufferevent_get_output(bev);
	enum verdict verdict = VERDICT_CONTINUE;
	size_t before;

	(void)fd;
	(void)events;
	if (s->channel.wants_write) {
		stream_readable_cb(fd, events, bev);
		return;
	}
	if (stream_write(s, WRITE_PER_EVENT) == -1)
		return;
	s->active = s->moved = clock_ms();
	before = evbuffer_get_length(out);
	if (s->handlers->writable != NULL && s->phase < PHASE_CLOSING && before <= OUTPUT_LOW) {
		verdict = s->handlers->writable(s, out);
		s->producing = evbuffer_get_length(out) > before;
	}
	apply_verdict(s, verdict);
}

/* --- the beginning --- */

static bool speaks_tls(const struct listener *listener)
{
	return listener != NULL && listener->wanted.protocol.tls;
}

/* NULL when out of memory; the descriptor is the caller's then. */
static struct stream *stream_new(
    struct instance *instance, struct listener *listener, int fd, const struct peer *peer)
{
	static const struct channel_callbacks callbacks = { stream_readable_cb, writable_cb,
		again_cb };
	bool resp = listener != NULL && listener->wanted.protocol.resp;
	const struct handlers *handlers = resp ? instance->handlers->resp : instance->handlers;
	size_t framing_size = stream_framing_words(handlers) * sizeof(uint64_t);
	struct stream *s = calloc(1, sizeof(*s) + framing_size + handlers->conn_size);

	if (s == NULL)
		return NULL;
	if (channel_open(&s->channel, instance->loop->base, fd, &callbacks, s) == -1) {
		free(s);
		return NULL;
	}
	s->channel.sends_files = handlers->flags & HANDLERS_SEND_FILES;
	if (peer->family == AF_UNIX)
		s->channel.piece = STREAM_UNIX_PIECE;
	s->instance = instance;
	s->listener = listener;
	s->handlers = handlers;
	s->opened = s->active = clock_ms();
	s->phase = PHASE_SERVING;
	s->id = ++instance->loop->last_id;
	s->peer = *peer;
	s->wants_tls = speaks_tls(listener);
	if (handlers->framing != NULL)
		handlers->framing->open(s->state, instance->lines, peer->family);
	TAILQ_INSERT_TAIL(&instance->streams, s, entry);
	return s;
}

void stream_open(
    struct instance *instance, struct listener *listener, int fd, const struct peer *peer)
{
	struct stream *s = stream_new(instance, listener, fd, peer);

	if (s == NULL) {
		if (admission_is_proxied(instance))
			admission_leave_unknown(instance);
		else
			admission_leave(instance, peer);
		log_limited(&instance->closed_lines, LOG_LEVEL_ERROR,
		    "%s: out of memory for a client, which is closed", instance->name);
		instance->counters.closed[CLOSE_LIMIT]++;
		instance->counters.refused[LIMIT_MEMORY]++;
		close(fd);
		return;
	}
	instance->counters.accepted++;
	if (admission_is_proxied(instance)) {
		arrival_await_header(s);
		stream_schedule_check(s, s->opened);
		stream_flush(s);
	} else if (!s->wants_tls) {
		stream_schedule_check(s, s->opened);
		apply_verdict(s, begin_serving(s));
	} else if (arrival_begin(s, true) == -1) {
		s->channel.tls_cause = TLS_MEMORY;
		stream_end(s, CLOSE_TLS);
	} else {
		stream_schedule_check(s, s->opened);
		stream_flush(s);
	}
}

void stream_say_refusal(struct stream *s)
{
	const struct refusals *refusals = s->handlers->refusals;

	if (!s->wants_tls && refusals != NULL && refusals->over_limit != NULL)
		evbuffer_add(bufferevent_get_output(s->channel.bev), refusals->over_limit,
		    strlen(refusals->over_limit));
}

void stream_refuse(struct instance *instance, struct listener *listener, int fd,
    const struct peer *peer, enum limit limit)
{
	struct stream *s = NULL;

	instance->counters.refused[limit]++;
	/* Over TLS the reason would cost a handshake, and a proxy's client is not known. */
	if (instance->loop->refused < REFUSED_MAX && !speaks_tls(listener) &&
	    !admission_is_proxied(instance))
		s = stream_new(instance, listener, fd, peer);
	if (s == NULL) {
		stream_turn_away(instance, fd, peer, CLOSE_LIMIT, limit);
		return;
	}
	s->refused = true;
	s->limit = (uint8_t)limit;
	instance->loop->refused++;
	stream_say_refusal(s);
	stream_close(s, CLOSE_LIMIT);
}

/* --- what others ask for --- */

void *stream_state(struct stream *s)
{
	return s->state + stream_framing_words(s->handlers);
}

struct instance *stream_instance(const struct stream *s)
{
	return s->instance;
}

const struct handlers *stream_handlers(const struct stream *s)
{
	return s->handlers;
}

static void drain(struct stream *s, enum close_reason reason)
{
	s->phase = PHASE_DRAINING;
	s->reason = reason;
	s->channel.large_read = true;
	/* What the kernel has received before the drain was sent in time. A client that sends more is cut off. */
	s->undrained = (uint32_t)stream_queue_length(s, SIOCINQ);
	if (s->channel.in_record || s->channel.wants_write)
		apply_turn(s, turn_run(s)); /* it is read once that is sent */
	else
		read_drained(s);
}

void stream_drain(struct stream *s, enum close_reason reason)
{
	if (s->phase <= PHASE_HANDSHAKE)
		stream_end(s, reason);
	else if (s->phase == PHASE_SERVING)
		drain(s, reason);
}

void streams_resolve(struct instance *instance, uint64_t committed, uint64_t through)
{
	struct waiter *waiter, *next;

	for (waiter = LIST_FIRST(&instance->waiters); waiter != NULL; waiter = next) {
		struct stream *s = waiter->stream;
		struct evbuffer *out = bufferevent_get_output(s->channel.bev);

		next = LIST_NEXT(waiter, entry);
		if (promises_resolve(&s->promises, out, committed, through, s->handlers->failure) ==
		    -1) {
			stream_reset(s);
			continue;
		}
		if (s->promises == NULL) {
			s->active = clock_ms();
			if (s->line_since != 0)
				s->line_since = s->active;
			stream_schedule_check(s, s->active); /* none was due while it waited */
		}
		stream_flush_later(s);
	}
}

int stream_move(struct evbuffer *to, struct evbuffer *bytes)
{
	size_t length = evbuffer_get_length(bytes);

	if (evbuffer_get_length(to) == 0 || length == 0 || length >= COPY_MAX)
		return evbuffer_add_buffer(to, bytes);
	if (evbuffer_add(to, evbuffer_pullup(bytes, -1), length) == -1)
		return -1;
	return evbuffer_drain(bytes, length);
}

void stream_send(struct stream *s, struct evbuffer *bytes, enum verdict verdict)
{
	if (s->phase >= PHASE_CLOSING)
		return;
	s->active = clock_ms();
	if (bytes == NULL) {
		apply_verdict(s, verdict);
	} else if (s->promises == NULL) {
		if (stream_move(bufferevent_get_output(s->channel.bev), bytes) == -1)
			verdict = VERDICT_ABORT;
		apply_verdict(s, verdict);
	} else {
		if (promises_append(s->promises, bytes) == -1)
			verdict = VERDICT_ABORT;
		/* The output has a limit of its own. */
		if (promises_unsent(s->promises) > OUTPUT_MAX + s->instance->max_word)
			stream_end(s, CLOSE_SLOW_READER);
		else
			apply_verdict(s, verdict);
	}
}

bool stream_is_open(const struct stream *s)
{
	return s->phase < PHASE_CLOSING;
}

void stream_set_stranger(struct stream *s, bool is_stranger)
{
	s->is_stranger = is_stranger;
}

bool stream_sends_files(const struct stream *s)
{
	return s->channel.sends_files;
}

void stream_end_slow_reader(struct stream *s)
{
	stream_end(s, CLOSE_SLOW_READER);
}

void stream_resume(struct stream *s)
{
	if (s->phase >= PHASE_CLOSING)
		return;
	s->active = clock_ms(); /* the service goes on with input that was left */
	s->waits = false;
	apply_turn(s, turn_run(s));
}

void stream_kill(struct stream *s)
{
	stream_end(s, CLOSE_DENIED);
}
