/*
 * Lines are found where they lie: memchr over the first extent of the input, one drain for all that were
 * served from it. They are handed over in runs, for a service that saves by seeing many at once. Only a line
 * that straddles two extents is moved, and only one with a telnet command in it is copied.
 */
#include "net/lines.h"

#include <event2/buffer.h>
#include <string.h>

#include "net/stream.h"
#include "net/telnet.h"

#define LINES_PER_TURN 1024

/* One turn on one stream. */
struct framer {
	struct lines *lines;
	struct stream *stream;
	const struct handlers *handlers;
	size_t max_line;
	bool telnet;
	struct evbuffer *out;
	struct lines_turn *turn;
	int steps;
	struct line run[LINES_PER_RUN]; /* found, and not handed over yet */
	size_t run_length;
	bool lost;      /* out of memory: an answer is missing */
	char *at, *end; /* what is left of the first extent */
};

static size_t typed_length(const struct lines *lines)
{
	return lines->telnet == NULL ? 0 : evbuffer_get_length(telnet_typed(lines->telnet));
}

static void clear_typed(struct lines *lines)
{
	if (lines->telnet != NULL)
		evbuffer_drain(telnet_typed(lines->telnet), typed_length(lines));
}

/* What the line is with its beginning from before a telnet command; NULL when out of memory. */
static char *whole_line(struct lines *lines, char *line, size_t *length)
{
	struct evbuffer *typed;

	if (typed_length(lines) == 0)
		return line;
	typed = telnet_typed(lines->telnet);
	if (evbuffer_add(typed, line, *length) == -1)
		return NULL;
	*length = evbuffer_get_length(typed);
	return (char *)evbuffer_pullup(typed, -1);
}

static void answer_long_line(struct framer *f)
{
	const char *text = f->handlers->long_line;

	if (text != NULL)
		f->lost |= evbuffer_add(f->out, text, strlen(text)) == -1;
}

static bool output_is_high(const struct framer *f)
{
	return evbuffer_get_length(f->out) > STREAM_OUTPUT_HIGH;
}

/* Hands them over one by one to a service that takes no runs. */
static enum verdict serve_each(struct framer *f, struct lines_run *run)
{
	enum verdict verdict = VERDICT_CONTINUE;

	while (verdict == VERDICT_CONTINUE && run->taken < run->count && !output_is_high(f)) {
		const struct line *line = &run->lines[run->taken++];

		verdict = f->handlers->line(f->stream, f->out, line->bytes, line->length);
		if (verdict == VERDICT_HOLD) {
			run->held = true;
			verdict = VERDICT_CONTINUE;
		}
	}
	return verdict;
}

/* Hands the run over. What the service leaves of it is left in the input for another turn. */
static enum verdict serve_run(struct framer *f)
{
	struct lines_run run = { .lines = f->run, .count = f->run_length };
	enum verdict verdict;

	if (run.count == 0)
		return VERDICT_CONTINUE;
	if (f->handlers->lines != NULL)
		verdict = f->handlers->lines(f->stream, f->out, &run);
	else
		verdict = serve_each(f, &run);
	if (run.taken < run.count)
		f->at = run.lines[run.taken].bytes;
	f->turn->more = run.taken < run.count || output_is_high(f);
	f->turn->held |= run.held;
	f->run_length = 0;
	clear_typed(f->lines);
	return verdict;
}

/* The run so far, if there is one, and whether the turn goes on behind it. */
static bool goes_on(struct framer *f, enum verdict *verdict)
{
	*verdict = serve_run(f);
	return *verdict == VERDICT_CONTINUE && !f->turn->more;
}

/* Answers a client of another protocol and closes; reads nothing that follows. */
static enum verdict turn_away(struct framer *f, enum foreign protocol)
{
	const char *text = f->handlers->foreign[protocol];
	enum verdict verdict;

	if (!goes_on(f, &verdict))
		return verdict;
	evbuffer_add(f->out, text, strlen(text));
	return VERDICT_PROTOCOL;
}

/* Judges a line over max_line by its first bytes; a line of telnet that was partly typed before is not judged. */
static enum foreign_begin begin_of(const struct framer *f)
{
	if (f->handlers->foreign[FOREIGN_HTTP] == NULL)
		return FOREIGN_BEGINS_OTHER;
	/* Always the same bytes, however many have arrived. */
	return foreign_http_begins(f->at, f->max_line + 1, !f->lines->spoken);
}

static enum foreign protocol_of(const struct framer *f, const char *line, size_t length)
{
	if (f->handlers->foreign[FOREIGN_HTTP] == NULL)
		return FOREIGN_NOT;
	return foreign_by_line(line, length, !f->lines->spoken);
}

/* --- the end of a line --- */

/* The length of the line's end before the LF: CR; with telnet also CR NUL, or CR NUL CR for a script's CR LF. */
static size_t end_length(bool telnet, const char *line, size_t length)
{
	if (telnet && length >= 3 && memcmp(line + length - 3, "\r\0\r", 3) == 0)
		return 3;
	if (telnet && length >= 2 && memcmp(line + length - 2, "\r\0", 2) == 0)
		return 2;
	return length > 0 && line[length - 1] == '\r';
}

#define END_MAX(telnet) ((telnet) ? 3u : 1u)

static bool has_cr_nul(const char *line, size_t length)
{
	/* memchr() first: it is ten times as fast, and few lines have a NUL. */
	return memchr(line, '\0', length) != NULL && memmem(line, length, "\r\0", 2) != NULL;
}

/* Replaces each CR NUL by CR (RFC 854), and several at the end by one. Returns the new length. */
static size_t drop_nuls(char *line, size_t length)
{
	size_t end = end_length(true, line, length), to = 0;

	length -= end > 1 ? end - 1 : 0;
	for (size_t from = 0; from < length; from++)
		if (line[from] != '\0' || from == 0 || line[from - 1] != '\r')
			line[to++] = line[from];
	return to;
}

/* Ends a line that was too long. One that may be HTTP has not been answered yet. */
static enum verdict end_skipping(struct framer *f, char *lf)
{
	size_t left = (size_t)(lf - f->at), known = left < FOREIGN_END ? left : FOREIGN_END;
	enum foreign_begin skipped = f->lines->skipped;
	bool http = skipped == FOREIGN_BEGINS_HTTP;

	known -= end_length(f->telnet, lf - known, known);
	if (skipped == FOREIGN_MAY_BE_HTTP)
		http = foreign_http_ends(f->at + left - known, known, !f->lines->spoken);
	f->lines->skipping = false;
	f->lines->spoken = true;
	clear_typed(f->lines); /* an IAC IAC just before the LF */
	f->at = lf + 1;
	if (http)
		return turn_away(f, FOREIGN_HTTP);
	if (skipped != FOREIGN_BEGINS_OTHER)
		answer_long_line(f);
	return VERDICT_CONTINUE;
}

/* A whole line that is too long, and of which some has been typed before a telnet command or not. */
static enum verdict refuse_line(struct framer *f, char *lf, bool typed)
{
	enum verdict verdict;

	if (!goes_on(f, &verdict))
		return verdict;
	f->lines->skipped = typed ? FOREIGN_BEGINS_OTHER : begin_of(f);
	if (f->lines->skipped == FOREIGN_BEGINS_OTHER)
		answer_long_line(f);
	return end_skipping(f, lf);
}

/* A whole line, its LF at `lf`. */
static enum verdict take_line(struct framer *f, char *lf)
{
	bool alone = typed_length(f->lines) > 0;
	char *line = f->at;
	size_t length = (size_t)(lf - line), content;
	enum foreign protocol;
	enum verdict verdict;

	f->turn->complete = true;
	if (f->lines->skipping)
		return end_skipping(f, lf);
	if ((line = whole_line(f->lines, line, &length)) == NULL)
		return VERDICT_ABORT;
	if (length - end_length(f->telnet, line, length) > f->max_line)
		return refuse_line(f, lf, alone);
	/* A line that is changed in place must not be left in the input for another turn. */
	if (f->telnet && has_cr_nul(line, length)) {
		if (!goes_on(f, &verdict))
			return verdict;
		length = drop_nuls(line, length);
		alone = true;
	}
	content = length - end_length(false, line, length);
	if ((protocol = protocol_of(f, line, content)) != FOREIGN_NOT)
		return turn_away(f, protocol);
	f->lines->spoken = true;
	f->at = lf + 1;
	f->run[f->run_length++] = (struct line){ line, length };
	return alone || f->run_length == LINES_PER_RUN ? serve_run(f) : VERDICT_CONTINUE;
}

/* The telnet command that begins (or goes on) before `stop`, or NULL. */
static char *find_command(const struct framer *f, char *from, const char *stop)
{
	if (!f->telnet)
		return NULL;
	if (f->lines->telnet != NULL && telnet_in_command(f->lines->telnet))
		return from;
	return memchr(from, TELNET_IAC, (size_t)(stop - from));
}

/* A line has not ended yet: with that many bytes typed and `here` of them it may be too long already. */
static void check_half_line(struct framer *f, size_t typed, size_t here)
{
	struct lines *lines = f->lines;

	/* What is over the limit may be the line's end. */
	if (!lines->skipping && typed + here > f->max_line + END_MAX(f->telnet)) {
		lines->skipping = true;
		lines->skipped = typed > 0 ? FOREIGN_BEGINS_OTHER : begin_of(f);
		if (lines->skipped == FOREIGN_BEGINS_OTHER)
			answer_long_line(f);
	}
	if (lines->skipping)
		clear_typed(lines);
}

static enum verdict take_command(struct framer *f, char *command)
{
	struct lines *lines = f->lines;
	size_t typed, taken, here = (size_t)(command - f->at);
	enum verdict verdict;

	if (!goes_on(f, &verdict))
		return verdict;
	typed = typed_length(lines);
	if (lines->telnet == NULL && (lines->telnet = telnet_new()) == NULL)
		return VERDICT_ABORT;
	if (evbuffer_add(telnet_typed(lines->telnet), f->at, here) == -1)
		return VERDICT_ABORT;
	check_half_line(f, typed, here);
	taken = telnet_command(
	    lines->telnet, (unsigned char *)command, (size_t)(f->end - command), f->out);
	if (taken == 0)
		return VERDICT_ABORT;
	f->at = command + taken;
	if (telnet_erased(lines->telnet))
		lines->skipping = false;
	return VERDICT_CONTINUE;
}

/* Drops what there is of a line that was too long, but for an end that may be that of HTTP's. */
static void skip(struct framer *f)
{
	size_t kept = f->lines->skipped == FOREIGN_MAY_BE_HTTP ? FOREIGN_END : 0;

	if ((size_t)(f->end - f->at) > kept)
		f->at = f->end - kept;
}

/* The extent ends within a line. */
static enum verdict keep_half_line(struct framer *f)
{
	size_t rest = (size_t)(f->end - f->at);
	enum verdict verdict;

	if (!goes_on(f, &verdict))
		return verdict;
	check_half_line(f, typed_length(f->lines), rest);
	if (f->lines->skipping)
		skip(f);
	f->lines->scanned = (size_t)(f->end - f->at);
	return VERDICT_CONTINUE;
}

/* Some protocols are known before their first line ends. */
static enum verdict look_at_greeting(struct framer *f)
{
	const struct lines *lines = f->lines;
	bool is_beginning = !lines->spoken && !lines->skipping && lines->telnet == NULL;
	enum foreign protocol = FOREIGN_NOT;

	if (is_beginning && f->end - f->at >= FOREIGN_GREETING)
		protocol = foreign_by_greeting(f->at);
	if (protocol == FOREIGN_NOT || f->handlers->foreign[protocol] == NULL)
		return VERDICT_CONTINUE;
	return turn_away(f, protocol);
}

/* Serves the lines of the first extent; what is left of it lies at f->at. */
static enum verdict serve_extent(struct framer *f)
{
	enum verdict verdict = look_at_greeting(f);
	char *from = f->at + f->lines->scanned;

	if (verdict != VERDICT_CONTINUE)
		return verdict;
	f->lines->scanned = 0;
	for (;;) {
		char *lf, *command;

		if (f->steps++ == LINES_PER_TURN || output_is_high(f)) {
			verdict = serve_run(f);
			f->turn->more = true;
			return verdict;
		}
		lf = memchr(from, '\n', (size_t)(f->end - from));
		command = find_command(f, from, lf != NULL ? lf : f->end);
		if (command != NULL && command < f->end)
			verdict = take_command(f, command);
		else if (lf != NULL)
			verdict = take_line(f, lf);
		else
			return keep_half_line(f);
		if (verdict != VERDICT_CONTINUE || f->turn->more)
			return verdict;
		from = f->at;
	}
}

/* Joins a line that straddles two extents, and no more than the line; false when there is no second. */
static bool join_extents(struct framer *f, struct evbuffer *in)
{
	struct evbuffer_iovec extent[2];
	const char *lf;
	size_t length;

	/* Behind the last byte there may be an extent that a read has reserved and not used. */
	if (evbuffer_peek(in, -1, NULL, extent, 2) < 2 || extent[1].iov_len == 0)
		return false;
	lf = memchr(extent[1].iov_base, '\n', extent[1].iov_len);
	length = extent[0].iov_len +
		 (lf == NULL ? extent[1].iov_len : (size_t)(lf + 1 - (char *)extent[1].iov_base));
	f->lost |= evbuffer_pullup(in, (ev_ssize_t)length) == NULL;
	return !f->lost;
}

enum verdict lines_serve(struct lines *lines, struct stream *stream,
    const struct handlers *handlers, const struct line_settings *settings, bool telnet,
    struct evbuffer *in, struct evbuffer *out, struct lines_turn *turn)
{
	struct framer f = { .lines = lines,
		.stream = stream,
		.handlers = handlers,
		.max_line = (size_t)settings->max_line,
		.telnet = telnet,
		.out = out,
		.turn = turn };
	enum verdict verdict = VERDICT_CONTINUE;
	struct evbuffer_iovec extent;

	*turn = (struct lines_turn){ 0 };
	while (evbuffer_get_length(in) > 0 && evbuffer_peek(in, -1, NULL, &extent, 1) > 0) {
		f.at = extent.iov_base;
		f.end = f.at + extent.iov_len;
		verdict = serve_extent(&f);
		evbuffer_drain(in, (size_t)(f.at - (char *)extent.iov_base));
		if (verdict != VERDICT_CONTINUE || turn->more)
			break;
		if (f.at != f.end && !join_extents(&f, in))
			break;
	}
	turn->half_line = evbuffer_get_length(in) > 0 || typed_length(lines) > 0 || lines->skipping;
	return f.lost ? VERDICT_ABORT : verdict;
}

enum verdict lines_finish(struct lines *lines, struct stream *stream,
    const struct handlers *handlers, bool telnet, struct evbuffer *in, struct evbuffer *out)
{
	static char nothing[1];
	size_t length = evbuffer_get_length(in);
	char *line;

	if (handlers->tail == NULL || lines->skipping || length + typed_length(lines) == 0)
		return VERDICT_CONTINUE;
	line = length == 0 ? nothing : (char *)evbuffer_pullup(in, -1);
	if (line == NULL || (line = whole_line(lines, line, &length)) == NULL)
		return VERDICT_ABORT;
	if (telnet && has_cr_nul(line, length))
		length = drop_nuls(line, length);
	return handlers->tail(stream, out, line, length);
}

void lines_clear(struct lines *lines)
{
	telnet_free(lines->telnet);
	lines->telnet = NULL;
}
