/*
 * RESP's framing: however a stream is cut into reads, the requests and the errors are those of the stream in one piece.
 */
#include "net/frame_resp.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "net/instance.h"
#include "net/replies.h"
#include "net/stream_parts.h"

static struct event_base *base;
static size_t max_word, run_max;

/* Consumes no more of a run than it likes. */
static enum verdict show_requests(struct stream *stream, struct run *run)
{
	(void)stream;
	require(run->count > 0 && run->count <= RUN_MAX);
	while (run->consumed < run->count && run->consumed < run_max) {
		const struct message *request = &run->messages[run->consumed++];
		const char *at;
		size_t words = resp_words(request, &at);
		char text[32];

		require(words > 0 && request->length <= RESP_REQUEST_MAX + max_word + 2);
		snprintf(text, sizeof(text), "%zu words\n", words);
		replies_text(run->replies, text);
		for (size_t i = 0; i < words; i++) {
			struct slice word = resp_word(&at);

			require(word.length <= max_word || word.length <= 65536);
			snprintf(text, sizeof(text), "%zu: ", word.length);
			replies_text(run->replies, text);
			replies_add(run->replies, word.bytes, word.length);
			if (word.length == 3 && memcmp(word.bytes, "bye", 3) == 0)
				return VERDICT_CLOSE;
		}
		require(at == request->bytes + request->length);
	}
	return VERDICT_CONTINUE;
}

static const struct handlers handlers = { .framing = &framing_resp, .messages = show_requests };

/* The next piece as a chunk of memory of its own, as a read would add it. */
static void add_piece(struct evbuffer *in, const uint8_t *bytes, size_t length)
{
	struct evbuffer *piece = evbuffer_new();

	evbuffer_add(piece, bytes, length);
	evbuffer_add_buffer(in, piece);
	evbuffer_free(piece);
}

/* Plays the bytes in pieces of these lengths, over and over, and returns all that was said. */
static struct evbuffer *play(struct input bytes, const size_t *pieces, size_t piece_count)
{
	struct instance instance = { .max_word = max_word };
	struct stream *s = calloc(1, sizeof(*s) + 256);
	struct evbuffer *said = evbuffer_new(), *in, *out;
	enum verdict verdict = VERDICT_CONTINUE;

	s->instance = &instance;
	s->handlers = &handlers;
	s->channel.bev = bufferevent_socket_new(base, -1, 0);
	in = bufferevent_get_input(s->channel.bev);
	out = bufferevent_get_output(s->channel.bev);
	evbuffer_unfreeze(in, 0);
	evbuffer_unfreeze(out, 1);
	framing_resp.open(s->state, NULL, AF_INET);
	for (size_t i = 0; verdict == VERDICT_CONTINUE; i++) {
		size_t length = pieces[i % piece_count];

		s->channel.eof = input_left(&bytes) == 0;
		if (!s->channel.eof) {
			const uint8_t *piece = input_bytes(&bytes, &length);

			add_piece(in, piece, length);
		}
		do {
			verdict = turn_run(s);
			evbuffer_add_buffer(said, out);
		} while (s->more && verdict == VERDICT_CONTINUE);
	}
	evbuffer_add_printf(said, "verdict %d", verdict);
	framing_resp.close(s->state);
	bufferevent_free(s->channel.bev);
	event_base_loop(base, EVLOOP_NONBLOCK);
	free(s);
	return said;
}

static void require_same(struct evbuffer *whole, struct evbuffer *cut)
{
	size_t length = evbuffer_get_length(whole);
	char *a = (char *)evbuffer_pullup(whole, -1), *b = (char *)evbuffer_pullup(cut, -1);
	char text[8192];

	if (length == evbuffer_get_length(cut) && memcmp(a, b, length) == 0)
		return;
	fprintf(stderr, "whole: %s\n", log_escape(text, sizeof(text), a, length));
	length = evbuffer_get_length(cut);
	fprintf(stderr, "cut: %s\n", log_escape(text, sizeof(text), b, length));
	require(!"the same is said");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input input = { data, data + size };
	size_t pieces[4], all = SIZE_MAX;
	struct evbuffer *whole, *cut;

	if (base == NULL)
		base = event_base_new();
	max_word = 1u + input_byte(&input);
	run_max = 1u + input_byte(&input) % RUN_MAX;
	for (int i = 0; i < 4; i++)
		pieces[i] = 1u + input_byte(&input) % 64;
	whole = play(input, &all, 1);
	cut = play(input, pieces, 4);
	require_same(whole, cut);
	evbuffer_free(whole);
	evbuffer_free(cut);
	return 0;
}
