/*
 * A turn of a stream: what it has received is cut into messages, and the service answers them. A turn ends no stream.
 * Messages are found where they lie in the input and handed over in runs: a service that sees many at once can be
 * faster. Only a message that straddles two pieces of the input is moved.
 */
#include <event2/buffer.h>
#include <event2/bufferevent.h>

#include "net/framing.h"
#include "net/instance.h"
#include "net/replies.h"
#include "net/stream_parts.h"

#define MESSAGES_PER_TURN 1024

struct message *run_next(struct run *run)
{
	if (run->consumed == run->count || run->replies->unsent > run->replies->high)
		return NULL;
	return &run->messages[run->consumed++];
}

/* Serves the last message, which has no end: the client has sent EOF behind it. */
static enum verdict serve_tail(struct stream *s, struct evbuffer *in, struct evbuffer *out)
{
	const struct handlers *handlers = s->handlers;
	static char nothing[1];
	size_t length = evbuffer_get_length(in);
	enum verdict verdict = VERDICT_CONTINUE;
	struct replies replies;
	struct frame_input input = {
		.at = length == 0 ? nothing : (char *)evbuffer_pullup(in, -1),
		.settings = s->instance->lines,
		.refusals = handlers->refusals,
		.replies = &replies,
	};
	struct message tail;
	struct run run = { .messages = &tail, .count = 1, .is_tail = true, .replies = &replies };
	enum frame frame;

	if (input.at == NULL)
		return VERDICT_ABORT;
	input.end = input.at + length;
	replies_begin(&replies, out, &s->promises);
	frame = handlers->framing->last(s->state, &input, &tail);
	if (frame == FRAME_MESSAGE)
		verdict = handlers->messages(s, &run);
	replies_flush(&replies);
	return frame == FRAME_NO_MEMORY || replies.lost ? VERDICT_ABORT : verdict;
}

/* All input is consumed, but for a message without an end, and no more will be read. */
static enum verdict end_input(struct stream *s)
{
	struct evbuffer *in = bufferevent_get_input(s->channel.bev);
	struct evbuffer *out = bufferevent_get_output(s->channel.bev);
	enum verdict verdict = VERDICT_CONTINUE;

	if (s->channel.truncated && s->handlers->eof != NULL) {
		/* A program must not take it for all that there is. */
		s->channel.tls_cause = TLS_TRUNCATED;
		return VERDICT_ABORT;
	}
	if (s->channel.eof && !s->channel.truncated && (s->handlers->flags & HANDLERS_TAIL))
		verdict = serve_tail(s, in, out);
	if (verdict == VERDICT_ABORT)
		return verdict;
	if (s->phase == PHASE_SERVING || (s->handlers->flags & HANDLERS_FINISH)) {
		if (s->handlers->eof != NULL)
			verdict = s->handlers->eof(s, out);
		else if (s->handlers->writable == NULL)
			verdict = VERDICT_CLOSE;
		if (verdict != VERDICT_CLOSE)
			return verdict;
	}
	if (s->phase == PHASE_SERVING) {
		s->phase = PHASE_DRAINING;
		s->reason = CLOSE_CLIENT_EOF;
	}
	return VERDICT_CLOSE;
}

/* Whether nothing more will be read. */
static bool is_input_over(const struct stream *s)
{
	return s->channel.eof ||
	       (s->phase == PHASE_DRAINING && s->undrained == 0 && !s->channel.wants_write);
}

static enum verdict serve_bytes(struct stream *s)
{
	struct evbuffer *in = bufferevent_get_input(s->channel.bev);
	enum verdict verdict = VERDICT_CONTINUE;

	if (s->handlers->bytes == NULL)
		evbuffer_drain(in, evbuffer_get_length(in));
	else if (evbuffer_get_length(in) > 0)
		verdict = s->handlers->bytes(s, in, bufferevent_get_output(s->channel.bev));
	if (verdict == VERDICT_CONTINUE && evbuffer_get_length(in) == 0 && is_input_over(s))
		verdict = end_input(s);
	return verdict;
}

/* Points the framing at the first piece of the input, and at the one behind it; false when there is none. */
static bool peek_input(struct frame_input *input, struct evbuffer *in)
{
	struct evbuffer_iovec piece[2];
	int pieces = evbuffer_peek(in, -1, NULL, piece, 2);

	if (pieces < 1)
		return false;
	input->at = piece[0].iov_base;
	input->end = input->at + piece[0].iov_len;
	/* Behind the last byte there may be a piece that a read has reserved and not used. */
	input->next = pieces < 2 ? NULL : piece[1].iov_base;
	input->next_length = pieces < 2 ? 0 : piece[1].iov_len;
	return true;
}

/* Adds messages to the run until it is full, the framing returns something else, or `steps` has reached its limit. */
static enum frame fill_run(struct stream *s, struct frame_input *input, struct run *run, int *steps)
{
	void *state = s->state;
	enum frame frame;

	do {
		input->unserved = run->count;
		input->needed = 0;
		if (input->at == input->end)
			return FRAME_PARTIAL;
		frame = s->handlers->framing->next(state, input, &run->messages[run->count]);
		run->count += frame == FRAME_MESSAGE;
	} while (++*steps < MESSAGES_PER_TURN && frame == FRAME_MESSAGE && run->count < RUN_MAX);
	return frame;
}

/* Lets the service continue the reply to an earlier message. */
static enum verdict serve_unfinished(struct stream *s, struct replies *replies)
{
	struct run run = { .replies = replies };
	enum verdict verdict = s->handlers->messages(s, &run);

	s->waits = verdict == VERDICT_WAIT;
	s->unfinished = run.unfinished || s->waits;
	s->more = !s->waits && (run.unfinished || replies->unsent > replies->high);
	return verdict;
}

/* Serves the first piece of the input in runs, until it has no whole message left or the turn is over. */
static enum verdict serve_piece(
    struct stream *s, struct frame_input *input, enum frame *frame, int *steps)
{
	struct replies *replies = input->replies;
	enum verdict verdict = VERDICT_CONTINUE;
	struct message messages[RUN_MAX];

	do {
		struct run run = { .messages = messages, .replies = replies };

		input->is_stranger = s->is_stranger;
		*frame = fill_run(s, input, &run, steps);
		if (run.count > 0)
			verdict = s->handlers->messages(s, &run);
		/* What the service left stays in the input for another turn. */
		if (run.consumed < run.count)
			input->at = messages[run.consumed].bytes;
		s->waits = verdict == VERDICT_WAIT;
		s->unfinished = run.unfinished || s->waits;
		s->more = !s->waits && (run.consumed < run.count || *steps >= MESSAGES_PER_TURN ||
					   run.unfinished || replies->unsent > replies->high);
	} while (verdict == VERDICT_CONTINUE && !s->more &&
		 (*frame == FRAME_MESSAGE || *frame == FRAME_BARRIER));
	if (*frame == FRAME_NO_MEMORY)
		return VERDICT_ABORT;
	return verdict == VERDICT_CONTINUE && *frame == FRAME_FOREIGN ? VERDICT_PROTOCOL : verdict;
}

enum verdict turn_run(struct stream *s)
{
	const struct framing *framing = s->handlers->framing;
	struct evbuffer *in = bufferevent_get_input(s->channel.bev);
	enum verdict verdict = VERDICT_CONTINUE;
	enum frame frame;
	struct frame_input input;
	struct replies replies;
	int steps = 0;

	if (framing == NULL)
		return serve_bytes(s);
	if (s->waits)
		return VERDICT_CONTINUE;
	replies_begin(&replies, bufferevent_get_output(s->channel.bev), &s->promises);
	replies.high = stream_output_high(s);
	input.settings = s->instance->lines;
	input.max_word = s->instance->max_word;
	input.refusals = s->handlers->refusals;
	input.replies = &replies;
	input.ended = false;
	s->more = replies.unsent > replies.high;
	if (s->unfinished && !s->more)
		verdict = serve_unfinished(s, &replies);
	while (verdict == VERDICT_CONTINUE && !s->more && evbuffer_get_length(in) > 0 &&
	       peek_input(&input, in)) {
		const char *begin = input.at;

		verdict = serve_piece(s, &input, &frame, &steps);
		evbuffer_drain(in, (size_t)(input.at - begin));
		if (frame == FRAME_PARTIAL && input.needed > 0 && !s->more) {
			size_t wanted = (size_t)(input.end - input.at) + input.needed;

			/* Only when all of it has arrived: otherwise each read would move a long message again. */
			if (wanted > evbuffer_get_length(in))
				break;
			if (evbuffer_pullup(in, (ev_ssize_t)wanted) == NULL)
				verdict = VERDICT_ABORT;
		} else if (input.at != input.end) {
			break;
		}
	}
	replies_flush(&replies);
	if (s->more || (evbuffer_get_length(in) == 0 && !framing->is_within(s->state)))
		s->line_since = 0;
	else if (input.ended || s->line_since == 0)
		s->line_since = s->active;
	if (replies.lost)
		return VERDICT_ABORT;
	if (s->waits) {
		s->line_since = 0;
		return VERDICT_CONTINUE;
	}
	if (verdict == VERDICT_CONTINUE && !s->more && is_input_over(s))
		verdict = end_input(s);
	return verdict;
}
