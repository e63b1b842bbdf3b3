/*
 * Framing and telnet: however a stream is cut into reads, the lines and the answers to telnet's commands
 * are those of the stream in one piece.
 */
#include "net/lines.h"

#include <event2/buffer.h>
#include <string.h>

#include "fuzz.h"

static size_t max_line, run_max;

static enum verdict say(struct evbuffer *out, const char *what, const char *line, size_t length)
{
	require(length <= max_line + 3); /* CR, CR NUL or CR NUL CR may be there */
	evbuffer_add_printf(out, "%s %zu ", what, length);
	evbuffer_add(out, line, length);
	return length == 3 && memcmp(line, "bye", 3) == 0 ? VERDICT_CLOSE : VERDICT_CONTINUE;
}

static enum verdict take_line(
    struct stream *stream, struct evbuffer *out, char *line, size_t length)
{
	(void)stream;
	require(memchr(line, '\n', length) == NULL);
	if (length == 4 && memcmp(line, "hold", 4) == 0)
		return VERDICT_HOLD;
	return say(out, "line", line, length);
}

static enum verdict take_tail(
    struct stream *stream, struct evbuffer *out, char *line, size_t length)
{
	(void)stream;
	return say(out, "tail", line, length);
}

/* Takes no more of a run than it likes. */
static enum verdict take_run(struct stream *stream, struct evbuffer *out, struct lines_run *run)
{
	enum verdict verdict = VERDICT_CONTINUE;

	require(run->count > 0 && run->count <= LINES_PER_RUN);
	while (verdict == VERDICT_CONTINUE && run->taken < run->count && run->taken < run_max) {
		const struct line *line = &run->lines[run->taken++];

		verdict = take_line(stream, out, line->bytes, line->length);
		run->held |= verdict == VERDICT_HOLD;
		if (verdict == VERDICT_HOLD)
			verdict = VERDICT_CONTINUE;
	}
	return verdict;
}

static const struct handlers handlers = {
	.lines = take_run,
	.tail = take_tail,
	.long_line = "too long ",
	.foreign = FOREIGN_TEXTS("not ", ""),
};

/* The next piece as a chunk of memory of its own, as a read would add it. */
static void add_piece(struct evbuffer *in, const uint8_t *bytes, size_t length)
{
	struct evbuffer *piece = evbuffer_new();

	evbuffer_add(piece, bytes, length);
	evbuffer_add_buffer(in, piece);
	evbuffer_free(piece);
}

/* Plays the stream in pieces of these lengths, over and over, and returns all that was said. */
static struct evbuffer *play(
    struct input stream, bool telnet, const size_t *pieces, size_t piece_count)
{
	const struct line_settings settings = { .max_line = (int64_t)max_line };
	struct evbuffer *in = evbuffer_new(), *out = evbuffer_new(), *said = evbuffer_new();
	enum verdict verdict = VERDICT_CONTINUE;
	struct lines_turn turn;
	struct lines lines = { 0 };

	for (size_t i = 0; input_left(&stream) > 0 && verdict == VERDICT_CONTINUE; i++) {
		size_t length = pieces[i % piece_count];
		const uint8_t *piece = input_bytes(&stream, &length);

		add_piece(in, piece, length);
		do {
			verdict =
			    lines_serve(&lines, NULL, &handlers, &settings, telnet, in, out, &turn);
			evbuffer_add_buffer(said, out);
		} while (turn.more && verdict == VERDICT_CONTINUE);
	}
	if (verdict == VERDICT_CONTINUE)
		verdict = lines_finish(&lines, NULL, &handlers, telnet, in, out);
	evbuffer_add_buffer(said, out);
	evbuffer_add_printf(said, "verdict %d", verdict);
	lines_clear(&lines);
	evbuffer_free(in);
	evbuffer_free(out);
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
	bool telnet;

	max_line = 16u + input_byte(&input);
	telnet = input_byte(&input) & 1;
	run_max = 1u + input_byte(&input) % LINES_PER_RUN;
	for (int i = 0; i < 4; i++)
		pieces[i] = 1u + input_byte(&input) % 64;
	whole = play(input, telnet, &all, 1);
	cut = play(input, telnet, pieces, 4);
	require_same(whole, cut);
	evbuffer_free(whole);
	evbuffer_free(cut);
	return 0;
}
