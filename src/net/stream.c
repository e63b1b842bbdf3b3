/*
 * The way of a byte on a stream: bufferevent -> stream_read_cb -> the service -> the output buffer ->
 * the socket, all in one callback. Bufferevents are made as fast as a bare epoll loop by two measures:
 *
 * 1. Replies are written in the read callback. EV_WRITE stays disabled and is enabled only for what the
 *    socket did not take, which saves two epoll_ctl calls and a turn of the loop per reply.
 * 2. The bufferevent's read event calls us, not libevent's reader, which asks FIONREAD before each read
 *    and then takes 4096 bytes at most (#798). One recv, into memory that grows with what comes.
 *
 * Streams end only here: stream_end() is the last thing that any path calls.
 */
#include "net/stream.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/bufferevent_struct.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "net/deadline.h"
#include "net/lines.h"
#include "net/listener.h"
#include "net/loop.h"

#define CHAIN_HEADER 64 /* of libevent's, in the same allocation, which is a power of two */
#define READ_SMALL (4096 - CHAIN_HEADER)
#define READ_LARGE (64 * 1024 - CHAIN_HEADER)
#define INPUT_HIGH (128u * 1024) /* waiting to be served */
#define OUTPUT_LOW (64u * 1024)  /* a client that was paused is read again */
#define OUTPUT_MAX (1024u * 1024)
#define WRITE_PER_EVENT (256u * 1024)
#define STALL_MS 30000  /* output that makes no progress */
#define LINGER_MS 2000  /* a closed client may still be sending */
#define REFUSED_MAX 128 /* clients that linger with a refusal */

struct stream {
	TAILQ_ENTRY(stream) entry;
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
	int64_t lingering;  /* ms, since when only the client's EOF is awaited; 0 = not yet */
	uint64_t id, bytes_in, bytes_made, bytes_gone;
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} peer;
	uint8_t peer_length;           /* of a Unix client only its family is kept */
	uint8_t reason;                /* enum close_reason, once it is closing */
	bool telnet : 1, refused : 1;  /* what it is */
	bool reading : 1, writing : 1; /* what the bufferevent waits for */
	bool bulk : 1;                 /* the last read was full: the next one takes more */
	bool producing : 1;            /* the service may have more to say once there is room */
	bool more : 1;                 /* complete lines wait in the input for the next turn */
	bool held : 1;                 /* by VERDICT_HOLD: nothing is read or sent */
	bool eof : 1;                  /* from the client */
	bool draining : 1;             /* closes once its input is answered, for `reason` */
	bool closing : 1;              /* closes once its output is sent; input is dropped */
	max_align_t state[];
};

static const char *const reason_names[CLOSE_REASONS] = {
	[CLOSE_CLIENT_EOF] = "client_eof",
	[CLOSE_QUIT] = "quit",
	[CLOSE_IDLE] = "idle",
	[CLOSE_RESET] = "reset",
	[CLOSE_LIMIT] = "limit",
	[CLOSE_DENIED] = "denied",
	[CLOSE_SLOW_READER] = "slow_reader",
	[CLOSE_PROTOCOL] = "protocol",
	[CLOSE_SHUTDOWN] = "shutdown",
	[CLOSE_RELOAD] = "reload",
};

const char *close_reason_name(enum close_reason reason)
{
	return reason_names[reason];
}

/* --- the end of a stream --- */

static void log_end(struct stream *s, enum close_reason reason)
{
	static const bool is_bad[CLOSE_REASONS] = { [CLOSE_LIMIT] = true,
		[CLOSE_DENIED] = true,
		[CLOSE_SLOW_READER] = true,
		[CLOSE_PROTOCOL] = true };
	enum log_level level = is_bad[reason] ? LOG_LEVEL_INFO : LOG_LEVEL_DEBUG;
	char peer[ADDRESS_TEXT_MAX];

	if (!log_enabled(level))
		return;
	log_limited(&s->instance->closed_lines, level,
	    "%s %s: closed: %s (%" PRIu64 " B in, %" PRIu64 " B out, %" PRId64 " ms)",
	    s->instance->name, peer_format(&s->peer.any, s->peer_length, peer, sizeof(peer)),
	    reason_names[reason], s->bytes_in, s->bytes_gone, clock_ms() - s->opened);
}

static void leave_counts(struct stream *s)
{
	struct loop *loop = s->instance->loop;

	if (loop->left != NULL)
		event_active(loop->left, 0, 0);
	if (s->refused) {
		loop->refused--;
		return;
	}
	source_leave(&s->instance->sources, &s->peer.any);
	s->instance->stream_count--;
	loop->streams--;
	loop_has_room(loop);
}

/* Counts what has left since the last look; says whether anything has. */
static bool count_gone(struct stream *s)
{
	uint64_t gone = s->bytes_made - evbuffer_get_length(bufferevent_get_output(s->bev));
	bool moved = gone != s->bytes_gone;

	s->instance->counters.bytes_out += gone - s->bytes_gone;
	s->bytes_gone = gone;
	return moved;
}

static void stream_end(struct stream *s, enum close_reason reason)
{
	struct instance *instance = s->instance;
	evutil_socket_t fd = bufferevent_getfd(s->bev);

	count_gone(s);
	if (s->handlers->close != NULL && !s->refused)
		s->handlers->close(s);
	instance->counters.closed[reason]++;
	log_end(s, reason);
	deadline_cancel(instance->loop->deadlines, &s->deadline);
	TAILQ_REMOVE(&instance->streams, s, entry);
	lines_clear(&s->lines);
	/* Out of epoll first: the descriptor is closed here and now, not on a later pass (#712). */
	bufferevent_disable(s->bev, EV_READ | EV_WRITE);
	bufferevent_free(s->bev);
	close(fd);
	leave_counts(s);
	free(s);
}

static void reset_connection(struct stream *s)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(bufferevent_getfd(s->bev), SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
	stream_end(s, CLOSE_RESET);
}

/* All is sent: says so to the client, and waits for its EOF lest unread input resets the connection. */
static void linger(struct stream *s)
{
	if (s->eof) {
		stream_end(s, s->reason);
		return;
	}
	if (s->lingering == 0) {
		s->lingering = clock_ms();
		shutdown(bufferevent_getfd(s->bev), SHUT_WR);
		deadline_set(s->instance->loop->deadlines, &s->deadline, s->lingering + LINGER_MS,
		    s->lingering);
	}
}

/* --- deadlines --- */

/* When the next deadline is, and what it would end the stream for. */
static int64_t next_deadline(const struct stream *s, enum close_reason *reason)
{
	int64_t idle = s->instance->settings->idle_timeout;
	int64_t line = s->instance->lines == NULL ? 0 : s->instance->lines->line_timeout;
	int64_t due = INT64_MAX;

	*reason = CLOSE_IDLE;
	if (s->lingering != 0) {
		*reason = s->reason;
		return s->lingering + LINGER_MS;
	}
	if (s->held)
		return due;
	if (s->writing) {
		*reason = CLOSE_SLOW_READER;
		return s->active + STALL_MS;
	}
	if (idle != 0)
		due = s->active + idle;
	if (line != 0 && s->line_since != 0 && s->line_since + line < due)
		due = s->line_since + line;
	return due;
}

static void file_deadline(struct stream *s, int64_t now)
{
	enum close_reason reason;
	int64_t due = next_deadline(s, &reason);

	if (due != INT64_MAX)
		deadline_set(s->instance->loop->deadlines, &s->deadline, due, now);
}

void stream_check(struct deadline *deadline, int64_t now)
{
	struct stream *s = (struct stream *)((char *)deadline - offsetof(struct stream, deadline));
	enum close_reason reason;

	if (count_gone(s) && s->lingering == 0)
		s->active = now;
	if (next_deadline(s, &reason) <= now)
		stream_end(s, reason);
	else
		file_deadline(s, now);
}

/* --- reading and writing --- */

/* Tells the bufferevent what to wait for; 0, or -1 when epoll refuses. */
static int wait_for(struct stream *s, bool reading, bool writing)
{
	short on = 0, off = 0;

	if (reading != s->reading)
		*(reading ? &on : &off) |= EV_READ;
	if (writing != s->writing)
		*(writing ? &on : &off) |= EV_WRITE;
	s->reading = reading;
	s->writing = writing;
	if (off != 0 && bufferevent_disable(s->bev, off) == -1)
		return -1;
	return on == 0 ? 0 : bufferevent_enable(s->bev, on);
}

/* One extent of memory, the usual case: send(2) costs less than the writev(2) of evbuffer_write(). */
static int send_extent(struct evbuffer *out, int fd, const struct evbuffer_iovec *extent)
{
	ssize_t n = send(fd, extent->iov_base, extent->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n > 0)
		evbuffer_drain(out, (size_t)n);
	return n == -1 ? -1 : 0;
}

/* Writes what the socket takes at once. 0, or -1 when the connection is gone. */
static int write_now(struct stream *s, struct evbuffer *out)
{
	struct evbuffer_iovec extent[2];
	int fd = bufferevent_getfd(s->bev), result;

	if (evbuffer_get_length(out) == 0)
		return 0;
	/* The bufferevent keeps the front of its output frozen: only it may take bytes away. */
	evbuffer_unfreeze(out, 1);
	if (!s->handlers->sends_files && evbuffer_peek(out, -1, NULL, extent, 2) == 1)
		result = send_extent(out, fd, &extent[0]);
	else
		result = evbuffer_write(out, fd);
	evbuffer_freeze(out, 1);
	return result == -1 && errno != EAGAIN && errno != EINTR ? -1 : 0;
}

/* Sends what there is to send, and settles what the stream waits for next. */
static void flush(struct stream *s)
{
	struct evbuffer *out = bufferevent_get_output(s->bev);
	size_t left;
	bool readable;

	if (s->held) {
		wait_for(s, false, false);
		return;
	}
	if (!s->writing && write_now(s, out) == -1) {
		stream_end(s, CLOSE_RESET);
		return;
	}
	left = evbuffer_get_length(out);
	count_gone(s);
	if (left > OUTPUT_MAX) {
		stream_end(s, CLOSE_SLOW_READER);
		return;
	}
	readable = s->closing || (left <= STREAM_OUTPUT_HIGH && s->unread <= INPUT_HIGH);
	if (wait_for(s, readable && !s->eof, left > 0 || s->producing) == -1) {
		stream_end(s, CLOSE_RESET);
		return;
	}
	if (s->more && left <= STREAM_OUTPUT_HIGH) /* after the other clients of this turn */
		bufferevent_trigger(
		    s->bev, EV_READ, BEV_TRIG_IGNORE_WATERMARKS | BEV_TRIG_DEFER_CALLBACKS);
	if (left == 0 && s->closing) {
		linger(s);
		return;
	}
	if (s->writing || s->line_since != 0)
		file_deadline(s, s->active);
}

static void begin_close(struct stream *s, enum close_reason reason)
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

static void settle(struct stream *s, enum verdict verdict)
{
	switch (verdict) {
	case VERDICT_CONTINUE:
		break;
	case VERDICT_CLOSE:
		begin_close(s, CLOSE_QUIT);
		break;
	case VERDICT_PROTOCOL:
		begin_close(s, CLOSE_PROTOCOL);
		break;
	case VERDICT_HOLD:
		s->held = true;
		break;
	case VERDICT_ABORT:
		reset_connection(s);
		return;
	}
	flush(s);
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
	return evbuffer_get_length(in) == 0 ? VERDICT_CONTINUE : s->handlers->data(s, in, out);
}

/* The input ends here, and all of it is answered but a line without an end. */
static enum verdict serve_end(struct stream *s, struct evbuffer *in, struct evbuffer *out)
{
	enum verdict verdict = VERDICT_CONTINUE;

	if (s->eof && s->handlers->line != NULL)
		verdict = lines_finish(&s->lines, s, s->handlers, in, out);
	if (verdict == VERDICT_ABORT)
		return verdict;
	if (s->handlers->eof != NULL && !s->draining)
		return s->handlers->eof(s, out);
	if (!s->draining)
		s->reason = CLOSE_CLIENT_EOF;
	s->draining = true;
	return VERDICT_CLOSE;
}

/* Whether the service has taken all that it can take. */
static bool is_used_up(const struct stream *s, struct evbuffer *in)
{
	return s->handlers->line != NULL ? !s->more : evbuffer_get_length(in) == 0;
}

/* One turn: the service gets what has come, and its answers leave at once. */
static void turn(struct stream *s)
{
	struct evbuffer *in = bufferevent_get_input(s->bev);
	struct evbuffer *out = bufferevent_get_output(s->bev);
	size_t before = evbuffer_get_length(out);
	enum verdict verdict;

	verdict = s->handlers->line != NULL ? serve_lines(s, in, out) : serve_data(s, in, out);
	if (verdict == VERDICT_CONTINUE && !s->held && is_used_up(s, in) && (s->eof || s->draining))
		verdict = serve_end(s, in, out);
	s->unread = evbuffer_get_length(in);
	s->bytes_made += evbuffer_get_length(out) - before;
	settle(s, verdict);
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
	s->active = clock_ms();
	if (s->closing) {
		evbuffer_drain(in, s->unread);
		s->unread = 0;
	} else if (!s->held) {
		turn(s);
	}
}

static void take_eof(struct stream *s)
{
	s->eof = true;
	if (s->closing)
		flush(s);
	else if (!s->held && !s->more)
		turn(s);
}

/* The socket is readable. */
static void readable_cb(evutil_socket_t fd, short events, void *arg)
{
	struct bufferevent *bev = arg;
	struct stream *s = bev->cbarg;
	struct evbuffer *in = bufferevent_get_input(bev);
	ssize_t n = read_now(s, in);

	(void)fd;
	(void)events;
	if (n > 0)
		take_input(s, in, (size_t)n);
	else if (n == 0)
		take_eof(s);
	else if (errno != EAGAIN && errno != EINTR)
		stream_end(s, s->lingering != 0 ? (enum close_reason)s->reason : CLOSE_RESET);
}

/* The next turn of a stream that has more, see flush(). */
static void more_cb(struct bufferevent *bev, void *arg)
{
	struct stream *s = arg;

	(void)bev;
	if (!s->closing && !s->held)
		turn(s);
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

	s->active = clock_ms();
	if (s->handlers->room != NULL && !s->closing && !s->held)
		verdict = produce(s, bufferevent_get_output(bev));
	settle(s, verdict);
}

/* Writing failed. */
static void event_cb(struct bufferevent *bev, short events, void *arg)
{
	struct stream *s = arg;

	(void)bev;
	(void)events;
	stream_end(s, s->lingering != 0 ? (enum close_reason)s->reason : CLOSE_RESET);
}

/* --- the beginning of a stream --- */

static struct stream *stream_new(
    struct instance *instance, int fd, const struct sockaddr *peer, socklen_t peer_length)
{
	struct stream *s = calloc(1, sizeof(*s) + instance->handlers->conn_size);

	if (s == NULL)
		return NULL;
	s->bev = bufferevent_socket_new(instance->loop->base, fd, 0);
	if (s->bev == NULL) {
		free(s);
		return NULL;
	}
	s->instance = instance;
	s->handlers = instance->handlers;
	s->opened = s->active = clock_ms();
	s->id = ++instance->loop->last_id;
	s->peer_length = peer->sa_family == AF_UNIX ? sizeof(sa_family_t) : (uint8_t)peer_length;
	memcpy(&s->peer, peer, s->peer_length);
	s->telnet =
	    instance->lines != NULL && instance->lines->telnet && s->peer.any.sa_family != AF_UNIX;
	bufferevent_setcb(s->bev, more_cb, write_cb, event_cb, s);
	/* In the place of libevent's own (measure 2); its finalizer wants the bufferevent as argument. */
	event_assign(&s->bev->ev_read, instance->loop->base, fd, EV_READ | EV_PERSIST | EV_FINALIZE,
	    readable_cb, s->bev);
	bufferevent_setwatermark(s->bev, EV_WRITE, OUTPUT_LOW, 0);
	bufferevent_set_max_single_write(s->bev, WRITE_PER_EVENT);
	bufferevent_disable(s->bev, EV_WRITE); /* enabled by default */
	TAILQ_INSERT_TAIL(&instance->streams, s, entry);
	return s;
}

static void out_of_memory(struct instance *instance, int fd)
{
	log_limited(&instance->closed_lines, LOG_LEVEL_ERROR,
	    "%s: out of memory for a client, it is closed", instance->name);
	instance->counters.closed[CLOSE_LIMIT]++;
	close(fd);
}

void stream_open(struct instance *instance, struct listener *listener, int fd,
    const struct sockaddr *peer, socklen_t peer_length)
{
	struct stream *s = stream_new(instance, fd, peer, peer_length);
	enum verdict verdict = VERDICT_CONTINUE;

	if (s == NULL) {
		source_leave(&instance->sources, peer);
		out_of_memory(instance, fd);
		return;
	}
	s->listener = listener;
	instance->counters.accepted++;
	instance->stream_count++;
	instance->loop->streams++;
	file_deadline(s, s->opened);
	s->producing = s->handlers->room != NULL;
	if (s->handlers->open != NULL)
		verdict = s->handlers->open(s, bufferevent_get_output(s->bev));
	s->bytes_made = evbuffer_get_length(bufferevent_get_output(s->bev));
	settle(s, verdict);
}

void stream_refuse(struct instance *instance, struct listener *listener, int fd,
    const struct sockaddr *peer, socklen_t peer_length)
{
	const char *refusal = instance->handlers->refusal;
	struct stream *s = NULL;

	if (instance->loop->refused < REFUSED_MAX)
		s = stream_new(instance, fd, peer, peer_length);
	if (s == NULL) {
		instance->counters.closed[CLOSE_LIMIT]++;
		close(fd);
		return;
	}
	s->listener = listener;
	s->refused = true;
	instance->loop->refused++;
	if (refusal != NULL)
		evbuffer_add(bufferevent_get_output(s->bev), refusal, strlen(refusal));
	s->bytes_made = evbuffer_get_length(bufferevent_get_output(s->bev));
	begin_close(s, CLOSE_LIMIT);
	flush(s);
}

/* --- what the rest of the program asks for --- */

static void drain(struct stream *s, enum close_reason reason)
{
	struct evbuffer *in = bufferevent_get_input(s->bev);
	ssize_t n;

	if (s->draining || s->closing)
		return;
	s->draining = true;
	s->reason = reason;
	if (s->held)
		return;
	/* What the kernel holds for us has been sent in time, too. */
	s->bulk = true;
	n = read_now(s, in);
	take_input(s, in, n > 0 ? (size_t)n : 0);
}

void streams_drain(struct instance *instance, enum close_reason reason)
{
	struct stream *s, *next;

	for (s = TAILQ_FIRST(&instance->streams); s != NULL; s = next) {
		next = TAILQ_NEXT(s, entry);
		drain(s, reason);
	}
}

void streams_leave(
    struct instance *instance, const struct listener *listener, enum close_reason reason)
{
	struct stream *s, *next;

	for (s = TAILQ_FIRST(&instance->streams); s != NULL; s = next) {
		next = TAILQ_NEXT(s, entry);
		if (s->listener != listener)
			continue;
		s->listener = NULL;
		drain(s, reason);
	}
}

void streams_abort(struct instance *instance, enum close_reason reason)
{
	struct stream *s;

	while ((s = TAILQ_FIRST(&instance->streams)) != NULL)
		stream_end(s, reason);
}

void streams_recheck(struct instance *instance)
{
	const struct instance_settings *settings = instance->settings;
	struct stream *s, *next;

	for (s = TAILQ_FIRST(&instance->streams); s != NULL; s = next) {
		next = TAILQ_NEXT(s, entry);
		if (!access_allows(&settings->allow, &settings->deny, &s->peer.any))
			stream_end(s, CLOSE_DENIED);
	}
}

void stream_release(struct stream *s)
{
	if (!s->held)
		return;
	s->held = false;
	s->active = clock_ms();
	if (s->closing)
		flush(s);
	else
		turn(s);
}

void stream_send(struct stream *s, struct evbuffer *bytes, enum verdict verdict)
{
	if (s->closing)
		return;
	s->bytes_made += evbuffer_get_length(bytes);
	s->active = clock_ms();
	if (evbuffer_add_buffer(bufferevent_get_output(s->bev), bytes) == -1)
		verdict = VERDICT_ABORT;
	settle(s, verdict);
}

void stream_resume(struct stream *s)
{
	if (!s->closing && !s->held)
		turn(s);
}

bool stream_has_room(const struct stream *s)
{
	return evbuffer_get_length(bufferevent_get_output(s->bev)) <= STREAM_OUTPUT_HIGH;
}

socklen_t stream_local(const struct stream *s, struct sockaddr_storage *local)
{
	socklen_t length = sizeof(*local);

	if (getsockname(bufferevent_getfd(s->bev), (struct sockaddr *)local, &length) == -1)
		return 0;
	return sockaddr_unmap((struct sockaddr *)local, length);
}

socklen_t stream_peer_length(const struct stream *s)
{
	return s->peer_length;
}

void *stream_state(struct stream *s)
{
	return s->state;
}

struct instance *stream_instance(const struct stream *s)
{
	return s->instance;
}

const struct sockaddr *stream_peer(const struct stream *s)
{
	return &s->peer.any;
}
