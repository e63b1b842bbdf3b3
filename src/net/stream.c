/*
 * The way of a byte on a stream: read event -> readable_cb -> the service -> the output buffer, and at
 * the end of the turn -> the socket. Bufferevents are made as fast as a bare epoll loop by three measures:
 *
 * 1. Replies are written without waiting for the socket. EV_WRITE stays disabled and is enabled only for
 *    what it did not take, which saves two epoll_ctl calls and a turn of the loop per reply.
 * 2. The bufferevent's read event calls us, not libevent's reader, which asks FIONREAD before each read
 *    and then takes 4096 bytes at most (#798). One recv, into memory that grows with what comes.
 * 3. Short replies of many clients leave together, at the end of the turn or when too much of others would
 *    come between: who is woken by the first of them finds the others, too, and need not be woken again.
 *    Waking is what costs most.
 */
#include "net/stream.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_struct.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <limits.h>
#include <sys/socket.h>

#include "core/clock.h"
#include "net/loop.h"
#include "net/stream_parts.h"

#define READ_SMALL (4096 - 64)   /* with libevent's header a page */
#define READ_LARGE (64 * 1024)   /* the bound of a turn; 64 less would cut such messages in two */
#define INPUT_HIGH (128u * 1024) /* waiting to be served, unless a single line may be longer */
#define OUTPUT_LOW (64u * 1024)  /* a client that was paused is read again */
#define OUTPUT_MAX (1024u * 1024)
#define WRITE_PER_EVENT (256u * 1024)
#define COPY_MAX (16u * 1024) /* shorter pieces share a chunk of the output */

/* Short replies wait until so much of others has been touched: a cache full, and a millisecond's work. */
#define WAIT_MAX (16u * 1024)
#define BEHIND_MAX (128u * 1024)
#define TOUCHED 4096u /* of a client, besides what it has sent */

/* Tells the bufferevent what to wait for; 0, or -1 when epoll refuses. */
static int wait_for(struct stream *s, bool reading, bool writing)
{
	short on = 0, off = 0;

	if (writing && !s->writing)
		s->moved = clock_ms();
	if (reading && !s->reading && s->line_since != 0)
		s->line_since = clock_ms(); /* while we did not read, the line could not end */
	if (reading != s->reading)
		*(reading ? &on : &off) |= EV_READ;
	/* libevent waits for no room once the output is empty, and keeps it to itself if it then cannot again. */
	if (writing != s->writing || (writing && !event_pending(&s->bev->ev_write, EV_WRITE, NULL)))
		*(writing ? &on : &off) |= EV_WRITE;
	s->reading = reading;
	s->writing = writing;
	if (off != 0 && bufferevent_disable(s->bev, off) == -1)
		return -1;
	return on == 0 ? 0 : bufferevent_enable(s->bev, on);
}

/* One extent of memory, the usual case: send(2) costs less than the writev(2) of evbuffer_write(). */
static ssize_t send_extent(
    struct evbuffer *out, int fd, const struct evbuffer_iovec *extent, size_t most)
{
	size_t length = extent->iov_len < most ? extent->iov_len : most;
	ssize_t n = send(fd, extent->iov_base, length, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n > 0)
		evbuffer_drain(out, (size_t)n);
	return n;
}

static size_t write_at_most(const struct stream *s)
{
	return s->peer.family == AF_UNIX ? STREAM_UNIX_PIECE : SSIZE_MAX;
}

/* Writes what the socket takes at once. 0, or -1 when the connection is gone. */
static int write_now(struct stream *s, struct evbuffer *out)
{
	struct evbuffer_iovec extent[2];
	size_t most = write_at_most(s);
	int fd = bufferevent_getfd(s->bev);
	ssize_t n;

	if (evbuffer_get_length(out) == 0)
		return 0;
	/* The bufferevent keeps the front of its output frozen: only it may take bytes away. */
	evbuffer_unfreeze(out, 1);
	do
		if (!s->handlers->sends_files && evbuffer_peek(out, -1, NULL, extent, 2) == 1)
			n = send_extent(out, fd, &extent[0], most);
		else
			n = evbuffer_write_atmost(out, fd, (ev_ssize_t)most);
	while (n == (ssize_t)most && evbuffer_get_length(out) > 0);
	evbuffer_freeze(out, 1);
	return n == -1 && errno != EAGAIN && errno != EINTR ? -1 : 0;
}

/* A half line of any length that is allowed must not keep its own end out. */
static size_t input_high(const struct stream *s)
{
	size_t line = s->instance->lines == NULL ? 0 : (size_t)s->instance->lines->max_line + 2;

	return line > INPUT_HIGH ? line : INPUT_HIGH;
}

void stream_flush(struct stream *s)
{
	struct evbuffer *out = bufferevent_get_output(s->bev);
	size_t left;
	bool readable;

	if (s->held) {
		stream_count_gone(s);
		wait_for(s, s->reading, false); /* see readable_cb */
		return;
	}
	if (!s->writing && write_now(s, out) == -1) {
		stream_end(s, CLOSE_RESET);
		return;
	}
	left = evbuffer_get_length(out);
	stream_count_gone(s);
	if (left > OUTPUT_MAX) {
		stream_end(s, CLOSE_SLOW_READER);
		return;
	}
	readable = s->closing || (left <= STREAM_OUTPUT_HIGH && s->unread <= input_high(s));
	if (wait_for(s, readable && !s->eof, left > 0 || s->producing) == -1) {
		stream_end(s, CLOSE_RESET);
		return;
	}
	if (s->more && left <= STREAM_OUTPUT_HIGH) /* after the other clients of this turn */
		bufferevent_trigger(
		    s->bev, EV_READ, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
	if (left == 0 && s->closing) {
		stream_linger(s);
		return;
	}
	if (s->writing || s->line_since != 0 || stream_is_unpolled(s))
		stream_file_deadline(s, s->active);
}

void stream_begin_close(struct stream *s, enum close_reason reason)
{
	struct evbuffer *in = bufferevent_get_input(s->bev);

	if (!s->draining)
		s->reason = reason;
	s->closing = true;
	s->more = s->producing = false;
	s->line_since = 0;
	s->unread = 0;
	evbuffer_drain(in, evbuffer_get_length(in));
}

static void reset_connection(struct stream *s)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(bufferevent_getfd(s->bev), SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	stream_end(s, CLOSE_RESET);
}

void stream_settle(struct stream *s, enum verdict verdict)
{
	switch (verdict) {
	case VERDICT_CONTINUE:
		break;
	case VERDICT_CLOSE:
		stream_begin_close(s, CLOSE_QUIT);
		break;
	case VERDICT_PROTOCOL:
		stream_begin_close(s, CLOSE_PROTOCOL);
		break;
	case VERDICT_HOLD:
		s->held = true;
		break;
	case VERDICT_ABORT:
		reset_connection(s);
		return;
	}
	stream_flush(s);
}

static enum verdict serve_lines(struct stream *s, struct evbuffer *in, struct evbuffer *out)
{
	struct lines_turn turn;
	enum verdict verdict =
	    lines_serve(&s->lines, s, s->handlers, s->instance->lines, s->telnet, in, out, &turn);

	s->more = turn.more;
	s->held = turn.held;
	if (!turn.half_line || turn.more)
		s->line_since = 0;
	else if (turn.complete || s->line_since == 0)
		s->line_since = s->active;
	return verdict;
}

static enum verdict serve_data(struct stream *s, struct evbuffer *in, struct evbuffer *out)
{
	if (evbuffer_get_length(in) > 0 && s->handlers->data != NULL)
		return s->handlers->data(s, in, out);
	/* A service that does not listen. */
	evbuffer_drain(in, evbuffer_get_length(in));
	return VERDICT_CONTINUE;
}

/* The input ends here, and all of it is answered but a line without an end. */
static enum verdict serve_end(struct stream *s, struct evbuffer *in, struct evbuffer *out)
{
	enum verdict verdict = VERDICT_CONTINUE;

	if (s->eof && handlers_frame(s->handlers))
		verdict = lines_finish(&s->lines, s, s->handlers, s->telnet, in, out);
	if (verdict == VERDICT_ABORT)
		return verdict;
	if (s->handlers->eof != NULL && (!s->draining || s->handlers->finishes) &&
	    (verdict = s->handlers->eof(s, out)) != VERDICT_CLOSE)
		return verdict;
	if (!s->draining)
		s->reason = CLOSE_CLIENT_EOF;
	s->draining = true;
	return VERDICT_CLOSE;
}

/* Whether the service has taken all that it can take. */
static bool is_used_up(const struct stream *s, struct evbuffer *in)
{
	return handlers_frame(s->handlers) ? !s->more : evbuffer_get_length(in) == 0;
}

void streams_answer(struct loop *loop)
{
	struct stream *s;

	loop->touched = 0;
	while ((s = TAILQ_FIRST(&loop->answered)) != NULL) {
		stream_forget_answered(s);
		stream_flush(s);
	}
}

static void answer_later(struct stream *s)
{
	struct loop *loop = s->instance->loop;

	if (s->answered)
		return;
	if (TAILQ_EMPTY(&loop->answered))
		event_active(loop->answer, EV_SIGNAL, 0);
	TAILQ_INSERT_TAIL(&loop->answered, s, answered_entry);
	s->answered = true;
}

/* For callbacks of the loop, which is where others may end: so much more input has been served. */
static void answer_in_time(struct loop *loop, size_t served)
{
	loop->touched += served + TOUCHED;
	if (loop->touched > BEHIND_MAX)
		streams_answer(loop);
}

/* One turn: the service gets what has come, and answers. */
static void turn(struct stream *s)
{
	struct evbuffer *in = bufferevent_get_input(s->bev);
	struct evbuffer *out = bufferevent_get_output(s->bev);
	size_t before = evbuffer_get_length(out);
	enum verdict verdict;

	verdict = handlers_frame(s->handlers) ? serve_lines(s, in, out) : serve_data(s, in, out);
	if (verdict == VERDICT_CONTINUE && !s->held && is_used_up(s, in) && (s->eof || s->draining))
		verdict = serve_end(s, in, out);
	s->unread = evbuffer_get_length(in);
	s->bytes_made += evbuffer_get_length(out) - before;
	if (verdict == VERDICT_CONTINUE && !s->held && evbuffer_get_length(out) <= WAIT_MAX)
		answer_later(s);
	else
		stream_settle(s, verdict);
}

/*
 * Reads once into the input: 0 at the client's EOF, -1 with errno, or the number of bytes. A client whose
 * last read filled its buffer gets a larger one.
 */
static ssize_t read_now(struct stream *s, struct evbuffer *in)
{
	size_t size = s->bulk ? READ_LARGE : READ_SMALL;
	struct evbuffer_iovec space;
	ssize_t n = -1;

	errno = ENOMEM;
	evbuffer_unfreeze(in, 0);
	if (evbuffer_reserve_space(in, (ev_ssize_t)size, &space, 1) == 1) {
		n = recv(bufferevent_getfd(s->bev), space.iov_base, size, MSG_DONTWAIT);
		space.iov_len = n > 0 ? (size_t)n : 0;
		evbuffer_commit_space(in, &space, 1);
	}
	evbuffer_freeze(in, 0);
	s->bulk = n >= READ_SMALL;
	return n;
}

static void take_input(struct stream *s, struct evbuffer *in, size_t come)
{
	s->bytes_in += come;
	s->instance->counters.bytes_in += come;
	s->unread += come;
	if (s->closing) { /* dropped input does not postpone the idle timeout */
		evbuffer_drain(in, s->unread);
		s->unread = 0;
	} else {
		s->active = clock_ms();
		turn(s);
	}
}

static void take_eof(struct stream *s)
{
	s->eof = true;
	if (s->closing)
		stream_flush(s);
	else if (!s->more)
		turn(s);
}

/* A client that resets after our goodbye has still been given its reason. */
static void lose_connection(struct stream *s)
{
	stream_end(s, s->lingering ? (enum close_reason)s->reason : CLOSE_RESET);
}

size_t stream_read(struct stream *s)
{
	struct evbuffer *in = bufferevent_get_input(s->bev);
	ssize_t n = read_now(s, in);

	if (n > 0)
		take_input(s, in, (size_t)n);
	else if (n == 0)
		take_eof(s);
	else if (errno != EAGAIN && errno != EINTR)
		lose_connection(s);
	return n > 0 ? (size_t)n : 0;
}

/* The socket is readable. */
static void readable_cb(evutil_socket_t fd, short events, void *arg)
{
	struct bufferevent *bev = arg;
	struct stream *s = bev->cbarg;
	struct loop *loop = s->instance->loop;

	(void)fd;
	(void)events;
	if (s->held) /* most clients wait for their answer, and cost no epoll_ctl then */
		wait_for(s, false, false);
	else
		answer_in_time(loop, stream_read(s));
}

/* The next turn of a stream that has more, see stream_flush(). */
static void more_cb(struct bufferevent *bev, void *arg)
{
	struct stream *s = arg;
	struct loop *loop = s->instance->loop;

	(void)bev;
	if (!s->closing && !s->held)
		turn(s);
	answer_in_time(loop, READ_LARGE);
}

/* The output is short: the service may say more. What it adds to is asked again when that has left. */
static enum verdict produce(struct stream *s, struct evbuffer *out)
{
	size_t before = evbuffer_get_length(out), added;
	enum verdict verdict = s->handlers->room(s, out);

	added = evbuffer_get_length(out) - before;
	s->bytes_made += added;
	s->producing = added > 0;
	return verdict;
}

/* The socket took some of the output, or would take some: go on with the service, or with the input. */
static void write_cb(struct bufferevent *bev, void *arg)
{
	struct stream *s = arg;
	enum verdict verdict = VERDICT_CONTINUE;

	s->active = s->moved = clock_ms();
	if (s->handlers->room != NULL && !s->closing && !s->held)
		verdict = produce(s, bufferevent_get_output(bev));
	stream_settle(s, verdict);
}

/* Writing failed. */
static void event_cb(struct bufferevent *bev, short events, void *arg)
{
	struct stream *s = arg;

	(void)bev;
	if (events & BEV_EVENT_EOF)
		reset_connection(s); /* a file was cut short, and must not be taken for whole */
	else
		lose_connection(s);
}

void stream_attach(struct stream *s)
{
	bufferevent_setcb(s->bev, more_cb, write_cb, event_cb, s);
	/* In the place of libevent's own (measure 2); its finalizer wants the bufferevent as argument. */
	event_assign(&s->bev->ev_read, s->instance->loop->base, bufferevent_getfd(s->bev),
	    EV_READ | EV_PERSIST | EV_FINALIZE, readable_cb, s->bev);
	bufferevent_setwatermark(s->bev, EV_WRITE, OUTPUT_LOW, 0);
	bufferevent_set_max_single_write(
	    s->bev, write_at_most(s) < WRITE_PER_EVENT ? write_at_most(s) : WRITE_PER_EVENT);
	bufferevent_disable(s->bev, EV_WRITE); /* enabled by default */
}

/* Reads what the kernel has received before the drain: the client sent it in time. */
static void drain_input(struct stream *s)
{
	struct evbuffer *in = bufferevent_get_input(s->bev);
	ssize_t n;

	s->bulk = true;
	s->undrained = false;
	n = read_now(s, in);
	take_input(s, in, n > 0 ? (size_t)n : 0);
}

void stream_drain(struct stream *s, enum close_reason reason)
{
	if (s->draining || s->closing)
		return;
	s->draining = true;
	s->reason = reason;
	s->undrained = s->held;
	if (!s->held)
		drain_input(s);
}

struct evbuffer *stream_held_output(struct stream *s)
{
	struct evbuffer *out = bufferevent_get_output(s->bev);

	evbuffer_unfreeze(out, 1);
	return out;
}

void stream_release(struct stream *s, enum verdict verdict)
{
	struct evbuffer *out = bufferevent_get_output(s->bev);

	if (!s->held)
		return;
	evbuffer_freeze(out, 1);
	s->bytes_made = s->bytes_gone + evbuffer_get_length(out);
	s->held = false;
	s->active = clock_ms();
	stream_file_deadline(s, s->active); /* none was set while the stream was held */
	if (s->closing || verdict != VERDICT_CONTINUE)
		stream_settle(s, verdict);
	else if (s->undrained)
		drain_input(s);
	else
		turn(s);
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
	if (s->closing)
		return;
	s->active = clock_ms();
	if (bytes != NULL)
		s->bytes_made += evbuffer_get_length(bytes);
	if (bytes != NULL && stream_move(bufferevent_get_output(s->bev), bytes) == -1)
		verdict = VERDICT_ABORT;
	stream_settle(s, verdict);
}

void stream_resume(struct stream *s)
{
	if (s->closing || s->held)
		return;
	s->active = clock_ms(); /* the service continues with pending input */
	turn(s);
}

bool stream_has_room(const struct stream *s)
{
	return evbuffer_get_length(bufferevent_get_output(s->bev)) <= STREAM_OUTPUT_HIGH;
}
