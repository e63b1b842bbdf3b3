/*
 * The deadlines of a stream: idle, a line that is not finished, output that the client does not read, lingering. A
 * deadline ends a stream only after the kernel's queues have shown that the client did nothing in time: what it
 * sent while the process or the loop stood still counts.
 */
#include <event2/event.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stddef.h>
#include <sys/ioctl.h>

#include "net/arrival.h"
#include "net/instance.h"
#include "net/loop.h"
#include "net/settings.h"
#include "net/stream.h"
#include "net/stream_parts.h"

#define STALL_MS 30000 /* without progress of the output: slow_reader */
#define LINGER_MS 2000 /* for the client's EOF, after our last byte */
#define CHECK_MS 2000  /* between checks of a client that does not read, or of an unpolled one */
#define CROWD_MS 1000  /* between checks of a handshake, whose deadline depends on the others */
#define LATE_MS 128    /* two ticks of the deadlines: a check is late beyond that */
#define GRACE_MS 1000  /* the most that a late check adds to a deadline, besides how late it is */

/* Takes the deadline if it is the earliest so far. */
static void note_earlier(
    int64_t *due, enum close_reason *reason, int64_t when, enum close_reason what_for)
{
	if (when < *due) {
		*due = when;
		*reason = what_for;
	}
}

/* The next deadline in ms, and the reason that it would end the stream for; INT64_MAX = there is none. */
static int64_t next_deadline(const struct stream *s, enum close_reason *reason)
{
	int64_t idle = s->instance->settings->idle_timeout;
	int64_t line = s->instance->lines == NULL ? 0 : s->instance->lines->line_timeout;
	int64_t due = INT64_MAX;

	*reason = s->reason;
	if (s->phase <= PHASE_HANDSHAKE) {
		*reason = s->phase == PHASE_PREFACE ? CLOSE_PROTOCOL : CLOSE_TLS;
		return arrival_deadline(s);
	}
	if (s->phase == PHASE_LINGERING)
		return s->moved + LINGER_MS;
	if (s->channel.writing)
		note_earlier(&due, reason, s->moved + STALL_MS, CLOSE_SLOW_READER);
	if (s->promises != NULL)
		return due; /* we owe the client replies: it is not the client that is late */
	if (idle != 0)
		note_earlier(&due, reason, s->active + idle, CLOSE_IDLE);
	if (line != 0 && s->line_since != 0 && s->channel.reading)
		note_earlier(&due, reason, s->line_since + line, CLOSE_IDLE);
	return due;
}

/* Neither EV_READ nor EV_WRITE is armed, so epoll would not report a hang-up. */
static bool is_unpolled(const struct stream *s)
{
	return !s->channel.reading && !s->channel.writing;
}

void stream_schedule_check(struct stream *s, int64_t now)
{
	int64_t idle = s->instance->settings->idle_timeout, check = INT64_MAX;
	enum close_reason reason;
	int64_t due = next_deadline(s, &reason);

	if (s->phase == PHASE_HANDSHAKE)
		check = now + CROWD_MS;
	else if (s->channel.writing || is_unpolled(s))
		check = now + CHECK_MS;
	else if (idle != 0 && s->promises == NULL && s->phase != PHASE_LINGERING)
		check = s->active + idle / 2; /* two checks show whether the client reads */
	if (check > now && check < due)
		due = check;
	if (due != INT64_MAX)
		deadline_set(s->instance->loop->deadlines, &s->deadline, due, now);
}

static bool is_due(const struct stream *s, int64_t now)
{
	enum close_reason reason;

	return next_deadline(s, &reason) <= now;
}

int stream_queue_length(const struct stream *s, unsigned long queue)
{
	int length = 0;

	return ioctl(s->channel.fd, queue, &length) == -1 ? 0 : length;
}

/*
 * Counts as progress what the client has read from the kernel's queue: a slow client empties much of that queue
 * before the kernel takes more from us. (For a Unix socket the queue shrinks only when the client has read a whole
 * buffer.) Comparing two checks shows it, if nothing was sent in between.
 */
static void check_output(struct stream *s, int64_t now)
{
	int queued = stream_queue_length(s, SIOCOUTQ);
	uint32_t acked = (uint32_t)(s->bytes_out - (uint64_t)queued);
	bool moved = false;

	if (s->acked_valid ? acked != s->acked : queued > 0 && is_due(s, now))
		moved = true; /* no earlier check to compare with: the daemon stood still */
	s->acked = acked;
	s->acked_valid = true;
	if (moved)
		s->active = s->moved = now;
}

/*
 * Reads, while the deadline is due, what the kernel had received when this check began: the client sent it in
 * time, however long the process or the loop stood still. Does not wait for more. May end the stream.
 */
static void check_input(struct stream *s, int64_t now)
{
	struct loop *loop = s->instance->loop;
	int64_t there = stream_queue_length(s, SIOCINQ), n;
	uint64_t before;

	do { /* one more read at the end: it may return EOF */
		before = s->bytes_in;
		stream_readable_cb(s->channel.fd, EV_READ, s->channel.bev);
		if (loop->checked != s)
			return;
		n = (int64_t)(s->bytes_in - before);
		there -= n;
	} while (n > 0 && there >= 0 && s->channel.reading && is_due(s, now));
}

static int64_t earlier(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/*
 * A late check means that the process or the loop stood still. That time is not charged to the client, and what it
 * sent may still be on its way, because our window was closed or nothing was acknowledged.
 */
static void put_off_deadlines(struct stream *s, int64_t now)
{
	enum close_reason reason;
	int64_t late = now - next_deadline(s, &reason);

	if (late <= LATE_MS)
		return;
	late += late < GRACE_MS ? late : GRACE_MS;
	s->active = earlier(s->active + late, now);
	s->moved = earlier(s->moved + late, now);
	if (s->line_since != 0)
		s->line_since = earlier(s->line_since + late, now);
}

void stream_check(struct deadline *deadline, int64_t now)
{
	struct stream *s = (struct stream *)((char *)deadline - offsetof(struct stream, deadline));
	struct pollfd client = { .fd = s->channel.fd };
	struct loop *loop = s->instance->loop;
	enum close_reason reason;

	loop->checked = s;
	/* The time for a header or a handshake is no longer for a client that reads slowly. */
	if (s->phase != PHASE_LINGERING && s->phase > PHASE_HANDSHAKE)
		check_output(s, now);
	if (s->channel.reading && is_due(s, now))
		check_input(s, now);
	if (loop->checked == NULL)
		return; /* check_input() ended the stream */
	if (is_due(s, now) && s->served && s->phase < PHASE_CLOSING && !s->channel.writing &&
	    s->handlers->busy != NULL && s->handlers->busy(s))
		s->active = now;
	loop->checked = NULL;
	put_off_deadlines(s, now);
	if (next_deadline(s, &reason) <= now) {
		if (s->phase == PHASE_HANDSHAKE)
			s->channel.tls_cause = arrival_is_crowded(s) ? TLS_CROWDED : TLS_TIMEOUT;
		else if (s->phase == PHASE_PREFACE)
			arrival_log_late(s);
		/*
		 * Closing with unread input would reset, and the client lose what is on its way to it. Over TLS, an end
		 * without a goodbye looks like an attack.
		 */
		if (s->phase < PHASE_CLOSING && !s->channel.writing &&
		    (stream_queue_length(s, SIOCINQ) > 0 ||
			(s->channel.tls != NULL && s->channel.established)))
			stream_close(s, reason);
		else
			stream_end(s, reason);
	} else if (is_unpolled(s) && poll(&client, 1, 0) == 1 &&
		   (client.revents & (POLLHUP | POLLERR))) {
		stream_end(s, CLOSE_RESET);
	} else {
		stream_schedule_check(s, now);
	}
}
