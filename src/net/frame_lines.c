/*
 * A line is a piece of the input between two LFs. Only a line with a telnet command in it is copied, and one with CR NUL
 * in it changed; such a line is the only one of its run.
 */
#include "net/frame_lines.h"

#include <event2/buffer.h>
#include <stdint.h>
#include <string.h>

#include "net/replies.h"
#include "net/sniff.h"
#include "net/telnet.h"

/* A stream's state. */
struct lines {
	struct telnet *telnet; /* from the first command on */
	uint32_t scanned;      /* bytes of the input that hold no LF and no telnet command */
	uint8_t skipped;       /* enum sniffed_http: how the line that is being skipped began */
	bool takes_telnet : 1;
	bool alone : 1;       /* the last message was copied or changed */
	bool skipping : 1;    /* behind the beginning of a line that is too long */
	bool first_ended : 1; /* the first line has */
};

static void lines_open(void *state, const struct line_settings *settings, sa_family_t family)
{
	((struct lines *)state)->takes_telnet = settings->telnet && family != AF_UNIX;
}

static void lines_close(void *state)
{
	telnet_free(((struct lines *)state)->telnet);
}

/* --- the part of a line before a telnet command --- */

static size_t typed_length(const struct lines *lines)
{
	if (lines->telnet == NULL || lines->alone) /* then it belongs to the last line */
		return 0;
	return evbuffer_get_length(telnet_typed(lines->telnet));
}

static void clear_typed(struct lines *lines)
{
	struct evbuffer *typed = lines->telnet == NULL ? NULL : telnet_typed(lines->telnet);

	if (typed != NULL)
		evbuffer_drain(typed, evbuffer_get_length(typed));
}

/* Puts it in front of the rest of the line. 0, or -1 when out of memory. */
static int join_typed(struct lines *lines, struct message *line)
{
	struct evbuffer *typed = telnet_typed(lines->telnet);

	if (evbuffer_add(typed, line->bytes, line->length) == -1)
		return -1;
	line->length = evbuffer_get_length(typed);
	line->bytes = (char *)evbuffer_pullup(typed, -1);
	return line->bytes == NULL ? -1 : 0;
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

/* Replaces each CR NUL by CR (RFC 854), and several at the end by one. */
static void drop_nuls(struct message *line)
{
	char *bytes = line->bytes;
	size_t end = end_length(true, bytes, line->length), to = 0;
	size_t length = line->length - (end > 1 ? end - 1 : 0);

	for (size_t from = 0; from < length; from++)
		if (bytes[from] != '\0' || from == 0 || bytes[from - 1] != '\r')
			bytes[to++] = bytes[from];
	line->length = to;
}

/* --- lines that are too long, and other protocols --- */

static void refuse_long_line(struct frame_input *in)
{
	if (in->refusals != NULL && in->refusals->long_line != NULL)
		replies_text(in->replies, in->refusals->long_line);
}

static const char *refusal_of(const struct frame_input *in, enum protocol protocol)
{
	return in->refusals == NULL ? NULL : in->refusals->sniffed[protocol];
}

static enum frame refuse_protocol(struct frame_input *in, enum protocol protocol)
{
	replies_text(in->replies, refusal_of(in, protocol));
	return FRAME_FOREIGN;
}

/* Whether a line that is too long can be HTTP, by its beginning. One with telnet commands in it (`typed`) is not. */
static enum sniffed_http sniff_long_line(
    const struct lines *lines, const struct frame_input *in, bool typed)
{
	if (typed || refusal_of(in, PROTOCOL_HTTP) == NULL)
		return SNIFFED_OTHER;
	/* The same bytes are checked, however many have arrived. */
	return sniff_http_begin(in->at, (size_t)in->settings->max_line + 1, !lines->first_ended);
}

/* The end of a line that was too long. One that may be HTTP has not been answered yet. */
static enum frame end_skipping(struct lines *lines, struct frame_input *in, char *lf)
{
	size_t rest = (size_t)(lf - in->at), known = rest < SNIFF_END ? rest : SNIFF_END;
	const char *last = lf - known;
	bool http = lines->skipped == SNIFFED_HTTP;

	known -= end_length(lines->takes_telnet, last, known);
	if (lines->skipped == SNIFFED_MAYBE_HTTP)
		http = sniff_http_end(last, known, !lines->first_ended);
	lines->skipping = false;
	lines->first_ended = true;
	clear_typed(lines); /* an IAC IAC just before the LF */
	in->at = lf + 1;
	in->ended = true;
	if (http)
		return refuse_protocol(in, PROTOCOL_HTTP);
	if (lines->skipped != SNIFFED_OTHER)
		refuse_long_line(in);
	return FRAME_BARRIER;
}

/* Of a line that has not ended, `typed` bytes are kept and `here` follow. If they are too many, skips the line. */
static void check_length(struct lines *lines, struct frame_input *in, size_t typed, size_t here)
{
	size_t most = (size_t)in->settings->max_line + END_MAX(lines->takes_telnet);

	/* What is over the limit may be the line's end. */
	if (!lines->skipping && typed + here > most) {
		lines->skipping = true;
		lines->skipped = sniff_long_line(lines, in, typed > 0);
		if (lines->skipped == SNIFFED_OTHER)
			refuse_long_line(in);
	}
	if (lines->skipping)
		clear_typed(lines);
}

/* --- what next() finds --- */

/* A whole line, its LF at `lf`. */
static enum frame end_line(
    struct lines *lines, struct frame_input *in, char *lf, struct message *line)
{
	size_t typed = lines->telnet == NULL ? 0 : typed_length(lines);
	size_t max = (size_t)in->settings->max_line;
	enum protocol protocol = PROTOCOL_OURS;
	bool alone;

	*line = (struct message){ in->at, (size_t)(lf - in->at) };
	/* memchr() first: it is ten times as fast as memmem(), and few lines have a NUL. */
	alone = typed > 0 || (lines->takes_telnet && memchr(in->at, '\0', line->length) != NULL &&
				 memmem(in->at, line->length, "\r\0", 2) != NULL);
	if (in->unserved > 0 && (lines->skipping || alone))
		return FRAME_BARRIER;
	if (lines->skipping)
		return end_skipping(lines, in, lf);
	if (typed > 0 && join_typed(lines, line) == -1)
		return FRAME_NO_MEMORY;
	if (line->length > max &&
	    line->length - end_length(lines->takes_telnet, line->bytes, line->length) > max) {
		if (in->unserved > 0)
			return FRAME_BARRIER;
		lines->skipped = sniff_long_line(lines, in, typed > 0);
		if (lines->skipped == SNIFFED_OTHER)
			refuse_long_line(in);
		return end_skipping(lines, in, lf);
	}
	if (alone)
		drop_nuls(line);
	if (refusal_of(in, PROTOCOL_HTTP) != NULL)
		protocol = sniff_line(line->bytes, line->length, !lines->first_ended);
	if (protocol != PROTOCOL_OURS)
		return in->unserved > 0 ? FRAME_BARRIER : refuse_protocol(in, protocol);
	lines->first_ended = in->ended = true;
	lines->alone = alone;
	in->at = lf + 1;
	return FRAME_MESSAGE;
}

/* Consumes the bytes before the command, and the command, or the part of it that has arrived. */
static enum frame consume_command(struct lines *lines, struct frame_input *in, char *command)
{
	size_t typed = typed_length(lines), here = (size_t)(command - in->at), consumed;

	if (in->unserved > 0)
		return FRAME_BARRIER;
	if (lines->telnet == NULL && (lines->telnet = telnet_new()) == NULL)
		return FRAME_NO_MEMORY;
	if (evbuffer_add(telnet_typed(lines->telnet), in->at, here) == -1)
		return FRAME_NO_MEMORY;
	check_length(lines, in, typed, here);
	consumed = telnet_command(
	    lines->telnet, (unsigned char *)command, (size_t)(in->end - command), in->replies);
	if (consumed == 0)
		return FRAME_NO_MEMORY;
	in->at = command + consumed;
	if (telnet_erased(lines->telnet))
		lines->skipping = false;
	return FRAME_BARRIER;
}

/* The piece ends within a line. */
static enum frame keep_half_line(struct lines *lines, struct frame_input *in)
{
	const char *lf;

	if (in->unserved > 0)
		return FRAME_BARRIER;
	check_length(lines, in, typed_length(lines), (size_t)(in->end - in->at));
	if (lines->skipping) {
		/* Drops all but what may be the end of a request line of HTTP. */
		size_t kept = lines->skipped == SNIFFED_MAYBE_HTTP ? SNIFF_END : 0;

		if ((size_t)(in->end - in->at) > kept)
			in->at = in->end - kept;
	}
	lines->scanned = (uint32_t)(in->end - in->at);
	lf = in->next_length == 0 ? NULL : memchr(in->next, '\n', in->next_length);
	in->needed = lf == NULL ? in->next_length : (size_t)(lf + 1 - in->next);
	return FRAME_PARTIAL;
}

static enum frame lines_next(void *state, struct frame_input *in, struct message *line)
{
	struct lines *lines = state;
	char *from, *lf,
	    *command = NULL; /* a telnet command that begins or continues before `lf` */

	if (lines->alone) {
		if (in->unserved > 0)
			return FRAME_BARRIER;
		clear_typed(lines);
		lines->alone = false;
	}
	/* TLS may send no LF. */
	if (!lines->first_ended && !lines->skipping && lines->telnet == NULL &&
	    in->end - in->at >= SNIFF_GREETING && sniff_greeting(in->at) == PROTOCOL_TLS &&
	    refusal_of(in, PROTOCOL_TLS) != NULL)
		return refuse_protocol(in, PROTOCOL_TLS);
	from = in->at + lines->scanned;
	lf = memchr(from, '\n', (size_t)(in->end - from));
	if (lines->telnet != NULL && telnet_in_command(lines->telnet))
		command = from;
	else if (lines->takes_telnet)
		command = memchr(from, TELNET_IAC, (size_t)((lf == NULL ? in->end : lf) - from));
	if (command == NULL && lf == NULL)
		return keep_half_line(lines, in);
	lines->scanned = 0;
	if (command != NULL)
		return consume_command(lines, in, command);
	return end_line(lines, in, lf, line);
}

/* The line that has no LF. */
static enum frame lines_last(void *state, struct frame_input *in, struct message *line)
{
	struct lines *lines = state;

	*line = (struct message){ in->at, (size_t)(in->end - in->at) };
	if (lines->skipping || line->length + typed_length(lines) == 0)
		return FRAME_PARTIAL;
	if (typed_length(lines) > 0 && join_typed(lines, line) == -1)
		return FRAME_NO_MEMORY;
	if (lines->takes_telnet)
		drop_nuls(line);
	in->at = in->end;
	if (line->length - end_length(false, line->bytes, line->length) <=
	    (size_t)in->settings->max_line)
		return FRAME_MESSAGE;
	refuse_long_line(in);
	return FRAME_PARTIAL;
}

static bool lines_is_within(const void *state)
{
	const struct lines *lines = state;

	return lines->skipping || (lines->telnet != NULL && typed_length(lines) > 0);
}

const struct framing framing_lines = {
	.state_size = sizeof(struct lines),
	.open = lines_open,
	.next = lines_next,
	.last = lines_last,
	.is_within = lines_is_within,
	.close = lines_close,
};
