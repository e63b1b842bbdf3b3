/*
 * The protocol is specified at https://redis.io/docs/reference/protocol-spec; what is an error, and its text, is as in
 * networking.c of Redis 7.2, which checks neither the LF behind a length nor the CR LF behind a word.
 *
 * Of a request that has arrived in part, the state remembers how far it was checked, so that each byte is checked once.
 * A request with a word that is too long, or too long itself, is answered at once, and its bytes are dropped as they
 * arrive: a client makes us reserve memory by sending bytes, not by announcing them.
 */
#include "net/frame_resp.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/escape.h"
#include "core/space.h"
#include "net/replies.h"
#include "net/sniff.h"

#define LINE_MAX ((size_t)64 << 10)        /* bytes of an inline command or a length */
#define WORDS_MAX ((int64_t)1 << 20)       /* of a request */
#define ANNOUNCED_MAX ((int64_t)512 << 20) /* bytes of a word */
#define STRANGER_MAX 16384 /* bytes of a word, and as many of the others, before a login */
/* What an array takes beyond the bytes of an inline command: its own length, and the length and end of each word. */
#define ARRAY_HEAD 16
#define WORD_HEAD 12

/* A stream's state. */
struct resp {
	char *copy;        /* the request that an inline command has become; NULL = there is none */
	uint64_t skipped;  /* bytes to drop of a word, with its CR LF */
	size_t checked;    /* bytes of the request at the beginning of the input */
	uint32_t words;    /* of that request behind them; 0 = it has not begun */
	bool skipping : 1; /* the request was refused */
	bool alone : 1;    /* the last message was `copy` */
	bool begun : 1;    /* the stream's first bytes were checked for TLS */
};

static void resp_open(void *state, const struct line_settings *settings, sa_family_t family)
{
	(void)state;
	(void)settings;
	(void)family;
}

static void resp_close(void *state)
{
	free(((struct resp *)state)->copy);
}

/* --- errors --- */

static enum frame end_by_error(struct frame_input *in, const char *what)
{
	replies_text(in->replies, "-ERR Protocol error: ");
	replies_text(in->replies, what);
	replies_text(in->replies, "\r\n");
	return FRAME_FOREIGN;
}

static enum frame expected_dollar(struct frame_input *in, char got)
{
	char text[32];

	/* A NUL would end the text here; Redis sends it. */
	if (got == '\r' || got == '\n' || got == '\0')
		got = ' ';
	snprintf(text, sizeof(text), "expected '$', got '%c'", got);
	return end_by_error(in, text);
}

/* --- lengths --- */

enum line { LINE_WHOLE, LINE_PARTIAL, LINE_TOO_LONG };

/* Most lengths have one or two digits: as read_length(), but NULL for all others; returns what is behind the line. */
static inline const char *read_short_length(
    const char *line, const char *end, char type, int64_t *number)
{
	unsigned char first, second;

	if (end - line < 5 || *line != type || (first = (unsigned char)(line[1] - '0')) > 9)
		return NULL;
	if (line[2] == '\r') {
		*number = first;
		return line + 4;
	}
	second = (unsigned char)(line[2] - '0');
	if (first == 0 || second > 9 || line[3] != '\r')
		return NULL;
	*number = 10 * first + second;
	return line + 5;
}

/*
 * Finds the end of the line of a length. Sets *number, which is -1 if it is negative and -2 if it is none, and *behind,
 * the first byte behind the line.
 */
static enum line read_length(
    const struct frame_input *in, const char *line, int64_t *number, const char **behind)
{
	bool negative = line + 1 < in->end && line[1] == '-';
	const char *digits = line + 1 + negative, *at = digits, *cr;
	int64_t value = 0;

	while (at < in->end && *at >= '0' && *at <= '9' && value <= ANNOUNCED_MAX)
		value = value * 10 + (*at++ - '0');
	/* Usually at the end of the digits; but the first one counts, which may be in place of the type. */
	cr = *line != '\r' && at < in->end && *at == '\r'
		 ? at
		 : memchr(line, '\r', (size_t)(in->end - line));
	if ((size_t)((cr == NULL ? in->end : cr) - line) > LINE_MAX)
		return LINE_TOO_LONG;
	if (cr == NULL || cr + 1 == in->end)
		return LINE_PARTIAL;
	*behind = cr + 2;
	if (cr != at || at == digits || (*digits == '0' && (negative || at > digits + 1)))
		*number = -2;
	else
		*number = negative ? -1 : value;
	return LINE_WHOLE;
}

/* The rest of a line with a length lies in the piece behind. */
static size_t length_needed(const struct frame_input *in)
{
	const char *cr;

	if (in->next_length == 0)
		return 0;
	if (in->end[-1] == '\r')
		return 1;
	cr = memchr(in->next, '\r', in->next_length);
	return cr == NULL ? in->next_length : (size_t)(cr - in->next) + 2;
}

/* --- inline commands --- */

/*
 * Writes a word of an inline command to `to`: parts of it may be in quotes. Returns its length; -1: a quote is not
 * closed, or something follows it that is no white space.
 */
static ssize_t read_inline_word(const char **at, const char *end, char *to)
{
	char *begin = to, quote = '\0';

	while (*at < end) {
		char byte = *(*at)++;

		if (quote == '\0' && is_space(byte) && byte != '\v' && byte != '\f')
			return to - begin;
		if (quote == '\0' && (byte == '"' || byte == '\'')) {
			quote = byte;
		} else if (quote != '\0' && byte == quote) {
			if (*at < end && !is_space(**at))
				return -1;
			return to - begin;
		} else if (quote == '"' && byte == '\\' && *at < end) {
			*to++ = escape_read(at, end, "nrtba");
		} else if (quote == '\'' && byte == '\\' && *at < end && **at == '\'') {
			*to++ = *(*at)++;
		} else {
			*to++ = byte;
		}
	}
	return quote == '\0' ? to - begin : -1;
}

/* Makes a request of the words of a line; FRAME_BARRIER if there are none. */
static enum frame copy_inline(struct resp *resp, struct frame_input *in, const char *line,
    const char *end, struct message *request)
{
	/* There is white space between words. Each is written to `scratch` first, as its length is not known. */
	size_t bytes = (size_t)(end - line),
	       most = ARRAY_HEAD + bytes + (bytes / 2 + 1) * WORD_HEAD;
	char *copy = malloc(most + bytes), *to, *scratch;
	const char *at = line;
	size_t count = 0;
	ssize_t length;

	if (copy == NULL)
		return FRAME_NO_MEMORY;
	to = copy + ARRAY_HEAD;
	scratch = copy + most;
	for (;; count++) {
		while (at < end && is_space(*at))
			at++;
		if (at == end)
			break;
		length = read_inline_word(&at, end, scratch);
		if (length == -1) {
			free(copy);
			return end_by_error(in, "unbalanced quotes in request");
		}
		to += sprintf(to, "$%zd\r\n", length);
		memcpy(to, scratch, (size_t)length);
		to += length;
		memcpy(to, "\r\n", 2);
		to += 2;
	}
	if (count == 0) {
		free(copy);
		return FRAME_BARRIER;
	}
	resp->copy = copy;
	*request = (struct message){ copy + ARRAY_HEAD, (size_t)(to - copy - ARRAY_HEAD) };
	length = snprintf(copy, ARRAY_HEAD, "*%zu\r\n", count);
	request->bytes -= length;
	request->length += (size_t)length;
	memmove(request->bytes, copy, (size_t)length); /* without its NUL */
	return FRAME_MESSAGE;
}

/* A line that does not begin with '*'. */
static enum frame next_inline(struct resp *resp, struct frame_input *in, struct message *request)
{
	const char *lf = memchr(in->at, '\n', (size_t)(in->end - in->at)), *end;
	enum frame frame;

	if (in->unserved > 0)
		return FRAME_BARRIER;
	if ((size_t)((lf == NULL ? in->end : lf) - in->at) > LINE_MAX)
		return end_by_error(in, "too big inline request");
	if (lf == NULL) {
		lf = in->next_length == 0 ? NULL : memchr(in->next, '\n', in->next_length);
		in->needed = lf == NULL ? in->next_length : (size_t)(lf + 1 - in->next);
		return FRAME_PARTIAL;
	}
	end = lf > in->at && lf[-1] == '\r' ? lf - 1 : lf;
	frame = copy_inline(resp, in, in->at, end, request);
	if (frame == FRAME_MESSAGE || frame == FRAME_BARRIER) {
		in->at += lf + 1 - in->at;
		in->ended = true;
	}
	resp->alone = frame == FRAME_MESSAGE;
	return frame;
}

/* --- arrays --- */

/* Drops what has arrived of a word. */
static void skip(struct resp *resp, struct frame_input *in)
{
	size_t here = (size_t)(in->end - in->at);

	if (here > resp->skipped)
		here = (size_t)resp->skipped;
	in->at += here;
	resp->skipped -= here;
}

/* Drops what has arrived of a request that was refused. */
static enum frame next_skipped(struct resp *resp, struct frame_input *in)
{
	skip(resp, in);
	while (resp->skipped == 0 && resp->words > 0 && in->at < in->end) {
		const char *behind;
		int64_t length;
		enum line line = read_length(in, in->at, &length, &behind);

		if (line == LINE_TOO_LONG)
			return end_by_error(in, "too big bulk count string");
		if (line == LINE_PARTIAL) {
			in->needed = length_needed(in);
			return FRAME_PARTIAL;
		}
		if (*in->at != '$')
			return expected_dollar(in, *in->at);
		if (length < 0 || length > ANNOUNCED_MAX)
			return end_by_error(in, "invalid bulk length");
		resp->words--;
		resp->skipped = (uint64_t)length + 2;
		in->at += behind - in->at;
		skip(resp, in);
	}
	if (resp->skipped > 0 || resp->words > 0)
		return FRAME_PARTIAL;
	resp->skipping = false;
	in->ended = true;
	return FRAME_BARRIER;
}

/* How far a request has been checked. */
struct checked {
	const char *at; /* behind what was */
	uint32_t words; /* to come */
	/* Bytes behind the input's piece, before more can be checked; 0 = the request is whole, or wrong. */
	size_t needed;
	const char *error;   /* of the protocol; NULL = none */
	char got;            /* instead of a '$'; then `error` is "" */
	const char *refusal; /* the reply to a request that is too long; NULL = it is not */
};

/* Checks the line with the number of words. false: it has not arrived whole, or is wrong. */
static bool check_count(const struct frame_input *in, struct checked *c)
{
	int64_t count = 0;
	const char *behind = read_short_length(c->at, in->end, '*', &count);
	enum line line = LINE_WHOLE;

	if (behind == NULL)
		line = read_length(in, c->at, &count, &behind);
	if (line == LINE_TOO_LONG)
		c->error = "too big mbulk count string";
	else if (line == LINE_PARTIAL)
		c->needed = length_needed(in);
	else if (count < -1 || count > WORDS_MAX)
		c->error = "invalid multibulk length";
	else
		c->at = behind;
	c->words = c->at == behind && count > 0 ? (uint32_t)count : 0;
	return c->at == behind;
}

/* Checks the next word. false: it has not arrived whole, or is wrong or too long. */
static bool check_word(const struct frame_input *in, struct checked *c)
{
	size_t max_word =
	    in->is_stranger && in->max_word > STRANGER_MAX ? STRANGER_MAX : in->max_word;
	size_t max_request = in->is_stranger ? STRANGER_MAX : RESP_REQUEST_MAX;
	int64_t length = 0;
	const char *behind = read_short_length(c->at, in->end, '$', &length);
	enum line line = LINE_WHOLE;

	if (behind == NULL)
		line = c->at == in->end ? LINE_PARTIAL : read_length(in, c->at, &length, &behind);
	if (line == LINE_PARTIAL) {
		c->needed = length_needed(in);
	} else if (line == LINE_TOO_LONG) {
		c->error = "too big bulk count string";
	} else if (*c->at != '$') {
		c->got = *c->at;
		c->error = "";
	} else if (length < 0 || length > ANNOUNCED_MAX) {
		c->error = "invalid bulk length";
	} else if ((size_t)length > max_word) {
		c->refusal = "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n";
	} else if ((size_t)(behind - in->at + length) > max_request + max_word) {
		c->refusal = "-ERR request is too long\r\n";
	} else if (in->end - behind < length + 2) {
		c->needed = (size_t)(length + 2 - (in->end - behind));
	} else {
		c->at = behind + length + 2;
		c->words--;
		return true;
	}
	return false;
}

/* Advances the state only if no message is unserved, because the service may leave unserved messages in the input. */
static enum frame next_array(struct resp *resp, struct frame_input *in, struct message *request)
{
	struct checked c = { .at = in->at + resp->checked, .words = resp->words };
	bool whole = c.words > 0 || check_count(in, &c), empty = whole && c.words == 0;

	while (whole && c.words > 0)
		whole = check_word(in, &c);
	if (whole) {
		*request = (struct message){ in->at, (size_t)(c.at - in->at) };
		resp->checked = 0;
		resp->words = 0;
		in->at += request->length;
		in->ended = true;
		return empty ? FRAME_BARRIER : FRAME_MESSAGE;
	}
	if (in->unserved > 0)
		return FRAME_BARRIER;
	if (c.error != NULL)
		return *c.error == '\0' ? expected_dollar(in, c.got) : end_by_error(in, c.error);
	resp->words = c.words;
	resp->checked = (size_t)(c.at - in->at);
	if (c.refusal == NULL) {
		in->needed = c.needed;
		return FRAME_PARTIAL;
	}
	replies_text(in->replies, c.refusal);
	resp->skipping = true;
	in->at += resp->checked;
	resp->checked = 0;
	return FRAME_BARRIER;
}

static enum frame resp_next(void *state, struct frame_input *in, struct message *request)
{
	struct resp *resp = state;
	const char *tls = in->refusals == NULL ? NULL : in->refusals->sniffed[PROTOCOL_TLS];

	if (resp->alone) {
		if (in->unserved > 0)
			return FRAME_BARRIER;
		free(resp->copy);
		resp->copy = NULL;
		resp->alone = false;
	}
	if (resp->skipping)
		return next_skipped(resp, in);
	/* TLS may send no LF. */
	if (!resp->begun && in->end - in->at >= SNIFF_GREETING) {
		resp->begun = true;
		if (tls != NULL && sniff_greeting(in->at) == PROTOCOL_TLS) {
			replies_text(in->replies, tls);
			return FRAME_FOREIGN;
		}
	}
	if (resp->words > 0 || *in->at == '*')
		return next_array(resp, in, request);
	return next_inline(resp, in, request);
}

static bool resp_is_within(const void *state)
{
	return ((const struct resp *)state)->skipping;
}

/* --- words --- */

static size_t read_checked(const char **at)
{
	const char *digit = *at + 1;
	size_t number = (size_t)(*digit++ - '0');

	while (*digit != '\r')
		number = number * 10 + (size_t)(*digit++ - '0');
	*at = digit + 2;
	return number;
}

size_t resp_words(const struct message *request, const char **at)
{
	*at = request->bytes;
	return read_checked(at);
}

struct slice resp_word(const char **at)
{
	size_t length = read_checked(at);
	struct slice word = { *at, length };

	*at += length + 2;
	return word;
}

const struct framing framing_resp = {
	.state_size = sizeof(struct resp),
	.open = resp_open,
	.next = resp_next,
	.is_within = resp_is_within,
	.close = resp_close,
};
