/*
 * RESP's framing, with every split of its input: however the bytes are cut into reads, and however the buffer holds
 * them, the same requests and the same errors come out.
 */
#include <check.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/frame_resp.h"
#include "net/instance.h"
#include "net/replies.h"
#include "net/sniff.h"
#include "net/stream.h"
#include "net/stream_parts.h"

#define MAX_WORD 16

static size_t longest_run, run_most; /* run_most: messages that the service consumes of a run */

/* Each request as "<word|word>"; STOP ends the stream, and WAIT waits, until an empty run is "<again>". */
static enum verdict show_requests(struct stream *stream, struct run *run)
{
	const struct message *request;

	(void)stream;
	if (run->count == 0)
		replies_text(run->replies, "<again>");
	if (run->count > longest_run)
		longest_run = run->count;
	for (size_t n = 0; n < run_most && (request = run_next(run)) != NULL; n++) {
		const char *at, *between = "<";
		size_t words = resp_words(request, &at);

		ck_assert_uint_gt(words, 0);
		for (size_t i = 0; i < words; i++) {
			struct slice word = resp_word(&at);

			if (word.length == 4 && memcmp(word.bytes, "STOP", 4) == 0)
				return VERDICT_CLOSE;
			if (word.length == 4 && memcmp(word.bytes, "WAIT", 4) == 0)
				return VERDICT_WAIT;
			replies_text(run->replies, between);
			replies_add(run->replies, word.bytes, word.length);
			between = "|";
		}
		replies_text(run->replies, ">");
		ck_assert_ptr_eq(at, request->bytes + request->length);
	}
	return VERDICT_CONTINUE;
}

static const struct refusals refusals = { .sniffed = { [PROTOCOL_TLS] = "(TLS)" } };
static const struct handlers handlers = {
	.framing = &framing_resp, .refusals = &refusals, .messages = show_requests
};
static struct event_base *base;

/* A stream of the test, without a socket: its framing and its two buffers. */
struct wire {
	struct instance instance;
	struct stream *stream;
	struct evbuffer *in, *out;
};

static void wire_open(struct wire *wire)
{
	struct stream *s = calloc(1, sizeof(*s) + 256);

	*wire = (struct wire){ .instance.max_word = MAX_WORD };
	wire->stream = s;
	s->instance = &wire->instance;
	s->handlers = &handlers;
	s->channel.bev = bufferevent_socket_new(base, -1, 0);
	wire->in = bufferevent_get_input(s->channel.bev);
	wire->out = bufferevent_get_output(s->channel.bev);
	evbuffer_unfreeze(wire->in, 0);
	evbuffer_unfreeze(wire->out, 1);
	framing_resp.open(s->state, NULL, AF_INET);
	longest_run = 0;
	run_most = SIZE_MAX;
}

static void wire_close(struct wire *wire)
{
	framing_resp.close(wire->stream->state);
	bufferevent_free(wire->stream->channel.bev);
	free(wire->stream);
}

/* One read, in an extent of its own or behind what is there; served until no more is to be done. */
static enum verdict feed(struct wire *wire, const char *bytes, size_t length, bool own_extent)
{
	struct evbuffer *extent = evbuffer_new();
	enum verdict verdict;

	if (own_extent) {
		evbuffer_add(extent, bytes, length);
		evbuffer_add_buffer(wire->in, extent);
	} else {
		evbuffer_add(wire->in, bytes, length);
	}
	evbuffer_free(extent);
	do
		verdict = turn_run(wire->stream);
	while (verdict == VERDICT_CONTINUE && wire->stream->more);
	return verdict;
}

static void expect_output(struct wire *wire, const char *expected, size_t length)
{
	const char *shown;

	evbuffer_add(wire->out, "", 1);
	shown = (const char *)evbuffer_pullup(wire->out, -1);
	if (memchr(expected, '\0', length) == NULL)
		ck_assert_str_eq(shown, expected);
	ck_assert_uint_eq(evbuffer_get_length(wire->out), length + 1);
	ck_assert_mem_eq(shown, expected, length);
}

#define BYTES(text) (text), sizeof(text) - 1
#define PROTOCOL_ERROR(what) BYTES("-ERR Protocol error: " what "\r\n"), VERDICT_PROTOCOL
#define TOO_LONG "-ERR string exceeds maximum allowed size (proto-max-bulk-len)\r\n"

static const struct {
	const char *in;
	size_t in_length;
	const char *out;
	size_t out_length;
	enum verdict verdict;
} cases[] = {
	{ BYTES("*1\r\n$4\r\nPING\r\n"), BYTES("<PING>"), 0 },
	{ BYTES("*2\r\n$3\r\nGET\r\n$1\r\na\r\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n"),
	    BYTES("<GET|a><GET|>"), 0 },
	{ BYTES("*3\r\n$3\r\nSET\r\n$4\r\n\r\n\0*\r\n$16\r\n0123456789abcdef\r\n"),
	    BYTES("<SET|\r\n\0*|0123456789abcdef>"), 0 },
	/* nothing, and empty lines */
	{ BYTES("*0\r\n*-1\r\n*-20\r\n\r\n\n  \r\n*1\r\n$1\r\na\r\n"), BYTES("<a>"), 0 },
	/* Redis does not look at these bytes */
	{ BYTES("*1\rX$1\rXaXX*1\r\n$1\r\nb\r\n"), BYTES("<a><b>"), 0 },
	/* inline commands */
	{ BYTES("PING\r\nGET a\n*1\r\n$1\r\nb\r\n get  a\t b \n"),
	    BYTES("<PING><GET|a><b><get|a|b>"), 0 },
	{ BYTES("SET \"a b\" '\\'c\\n' \"\\x41\\n\\\"\\q\" d\"e f\" \"\"\n"),
	    BYTES("<SET|a b|'c\\n|A\n\"q|de f|>"), 0 },
	{ BYTES("a \"b\n"), PROTOCOL_ERROR("unbalanced quotes in request") },
	{ BYTES("a 'b\\'\r\n"), PROTOCOL_ERROR("unbalanced quotes in request") },
	{ BYTES("x\na \"b\"c\n"), BYTES("<x>-ERR Protocol error: unbalanced quotes in request\r\n"),
	    VERDICT_PROTOCOL },
	/* lengths that are none */
	{ BYTES("*x\r\n"), PROTOCOL_ERROR("invalid multibulk length") },
	{ BYTES("*\r\n"), PROTOCOL_ERROR("invalid multibulk length") },
	{ BYTES("*01\r\n"), PROTOCOL_ERROR("invalid multibulk length") },
	{ BYTES("*-0\r\n"), PROTOCOL_ERROR("invalid multibulk length") },
	{ BYTES("*+1\r\n"), PROTOCOL_ERROR("invalid multibulk length") },
	{ BYTES("* 1\r\n"), PROTOCOL_ERROR("invalid multibulk length") },
	{ BYTES("*1048577\r\n"), PROTOCOL_ERROR("invalid multibulk length") },
	{ BYTES("*99999999999999999999\r\n"), PROTOCOL_ERROR("invalid multibulk length") },
	{ BYTES("*1\r\n$-1\r\n"), PROTOCOL_ERROR("invalid bulk length") },
	{ BYTES("*1\r\n$x\r\n"), PROTOCOL_ERROR("invalid bulk length") },
	{ BYTES("*1\r\n$536870913\r\n"), PROTOCOL_ERROR("invalid bulk length") },
	{ BYTES("*1\r\nfoo\r\n"), PROTOCOL_ERROR("expected '$', got 'f'") },
	{ BYTES("*1\r\n\r\n"), PROTOCOL_ERROR("expected '$', got ' '") },
	{ BYTES("*1\r\n\r2\r\n"), PROTOCOL_ERROR("expected '$', got ' '") },
	{ BYTES("*1\r\n$1\r\na\r\n*1\r\n:1\r\n"),
	    BYTES("<a>-ERR Protocol error: expected '$', got ':'\r\n"), VERDICT_PROTOCOL },
	/* a word that is too long: the rest of its request is dropped, too */
	{ BYTES(
	      "*1\r\n$1\r\na\r\n*3\r\n$1\r\nb\r\n$17\r\n0123456789abcdefg\r\n$3\r\n*1\r\r\n*1\r\n$1"
	      "\r\nc\r\n"),
	    BYTES("<a>" TOO_LONG "<c>"), 0 },
	{ BYTES("*2\r\n$17\r\n0123456789abcdefg\r\n:1\r\n"),
	    BYTES(TOO_LONG "-ERR Protocol error: expected '$', got ':'\r\n"), VERDICT_PROTOCOL },
	{ BYTES("*2\r\n$17\r\n0123456789abcdefg\r\n$x\r\n"),
	    BYTES(TOO_LONG "-ERR Protocol error: invalid bulk length\r\n"), VERDICT_PROTOCOL },
	/* the end of the stream */
	{ BYTES("*1\r\n$4\r\nSTOP\r\n*1\r\n$1\r\na\r\n"), BYTES(""), VERDICT_CLOSE },
	{ BYTES("\x16\x03\x01\x02"), BYTES("(TLS)"), VERDICT_PROTOCOL },
	{ BYTES("*1\r\n$2\r\n\x16\x03\r\n"), BYTES("<\x16\x03>"), 0 },
};

/* A read behind the end is not served. */
static void split_in_three(int row, size_t first, size_t second, bool own_extents)
{
	const size_t ends[] = { first, second, cases[row].in_length };
	enum verdict verdict = VERDICT_CONTINUE;
	struct wire wire;
	size_t from = 0;

	wire_open(&wire);
	for (int i = 0; i < 3 && verdict == VERDICT_CONTINUE; from = ends[i++])
		verdict = feed(&wire, cases[row].in + from, ends[i] - from, own_extents);
	ck_assert_int_eq(verdict, cases[row].verdict);
	expect_output(&wire, cases[row].out, cases[row].out_length);
	wire_close(&wire);
}

START_TEST(every_split_in_three)
{
	for (size_t first = 0; first <= cases[_i].in_length; first++) {
		for (size_t second = first; second <= cases[_i].in_length; second++) {
			split_in_three(_i, first, second, false);
			split_in_three(_i, first, second, true);
		}
	}
}
END_TEST

START_TEST(byte_by_byte)
{
	enum verdict verdict = VERDICT_CONTINUE;
	struct wire wire;

	wire_open(&wire);
	for (size_t i = 0; i < cases[_i].in_length && verdict == VERDICT_CONTINUE; i++)
		verdict = feed(&wire, cases[_i].in + i, 1, i % 2 == 0);
	ck_assert_int_eq(verdict, cases[_i].verdict);
	expect_output(&wire, cases[_i].out, cases[_i].out_length);
	wire_close(&wire);
}
END_TEST

START_TEST(requests_come_in_runs)
{
	char shown[100 * 5 + 1] = "";
	struct wire wire;

	wire_open(&wire);
	run_most = 5;
	for (int i = 0; i < 100; i++) {
		evbuffer_add_printf(wire.in, "*1\r\n$3\r\n%03d\r\n", i);
		sprintf(shown + strlen(shown), "<%03d>", i);
	}
	ck_assert_int_eq(feed(&wire, BYTES("*1\r\n$"), false), VERDICT_CONTINUE);
	ck_assert_uint_eq(longest_run, RUN_MAX);
	expect_output(&wire, shown, strlen(shown));
	wire_close(&wire);
}
END_TEST

/* In an array, and in an inline command, whose bytes are not those of the input. */
START_TEST(a_request_waits)
{
	static const char *const requests[] = { "*2\r\n$4\r\nWAIT\r\n$3\r\na b\r\n",
		"WAIT 'a b'\r\n" };
	char text[256];
	struct wire wire;

	for (int extents = 0; extents < 2; extents++) {
		wire_open(&wire);
		snprintf(text, sizeof(text), "a\r\n*1\r\n$1\r\nb\r\n%sc\r\n*1\r\n$1\r\nd\r\n",
		    requests[_i]);
		if (extents == 0)
			feed(&wire, text, strlen(text), false);
		for (size_t i = 0; extents == 1 && i < strlen(text); i++)
			feed(&wire, text + i, 1, true);
		ck_assert(wire.stream->waits);
		wire.stream->waits = false;
		feed(&wire, "", 0, false);
		ck_assert(!wire.stream->waits);
		expect_output(&wire, BYTES("<a><b><again><c><d>"));
		wire_close(&wire);
	}
}
END_TEST

/* The longest line, and one byte more; both end later, or now. */
START_TEST(lines_have_a_limit)
{
	static const struct {
		const char *begin, *what;
	} lines[] = {
		{ "", "too big inline request" },
		{ "*", "too big mbulk count string" },
		{ "*1\r\n$", "too big bulk count string" },
		{ "*2\r\n$17\r\n0123456789abcdefg\r\n$", "too big bulk count string" },
	};
	const char *begin = lines[_i].begin;
	size_t before =
	    (size_t)(strrchr(begin, '\n') == NULL ? 0 : strrchr(begin, '\n') + 1 - begin);
	char *many = malloc(65536 + 1), error[128];

	memset(many, '1', 65536 + 1);
	snprintf(error, sizeof(error), "%s-ERR Protocol error: %s\r\n", _i == 3 ? TOO_LONG : "",
	    lines[_i].what);
	for (int ends = 0; ends < 2; ends++) {
		size_t length = 65536 - (strlen(begin) - before);
		struct wire wire;

		wire_open(&wire);
		evbuffer_add(wire.in, begin, strlen(begin));
		ck_assert_int_eq(feed(&wire, many, length, false), VERDICT_CONTINUE);
		evbuffer_add(wire.in, many, 1);
		ck_assert_int_eq(feed(&wire, "\r\n", ends ? 2 : 0, true), VERDICT_PROTOCOL);
		expect_output(&wire, error, strlen(error));
		wire_close(&wire);
	}
	free(many);
}
END_TEST

/* The announced request is refused before its bytes have come, and they are dropped as they come. */
START_TEST(a_giant_takes_no_memory)
{
	static char piece[1 << 16];
	struct wire wire;
	size_t before;

	wire_open(&wire);
	ck_assert_int_eq(feed(&wire, BYTES("*1048576\r\n$536870912\r\n"), false), VERDICT_CONTINUE);
	before = mallinfo2().uordblks;
	for (int i = 0; i < 1 << 13; i++) {
		ck_assert_int_eq(feed(&wire, piece, sizeof(piece), true), VERDICT_CONTINUE);
		ck_assert_uint_eq(evbuffer_get_length(wire.in), 0);
	}
	ck_assert_uint_lt(mallinfo2().uordblks, before + 4 * sizeof(piece));
	ck_assert_int_eq(feed(&wire, BYTES("\r\n$0\r\n\r\n$x\r\n"), false), VERDICT_PROTOCOL);
	expect_output(&wire, BYTES(TOO_LONG "-ERR Protocol error: invalid bulk length\r\n"));
	wire_close(&wire);
}
END_TEST

/* Many words in many reads, up to the limit of a request and beyond it. */
START_TEST(a_request_has_a_limit)
{
	size_t words = (RESP_REQUEST_MAX + MAX_WORD) / 6, all = _i == 0 ? words - 2 : words + 2;
	const char *answer = "-ERR request is too long\r\n<z>";
	struct wire wire;
	char count[32];

	wire_open(&wire);
	snprintf(count, sizeof(count), "*%zu\r\n", all);
	feed(&wire, count, strlen(count), true);
	for (size_t i = 0; i < all; i++) {
		evbuffer_add(wire.in, BYTES("$0\r\n\r\n"));
		if (i % 1000 == 0)
			ck_assert_int_eq(feed(&wire, "", 0, true), VERDICT_CONTINUE);
	}
	if (_i == 1)
		ck_assert_int_eq(feed(&wire, BYTES("*1\r\n$1\r\nz\r\n"), true), VERDICT_CONTINUE);
	else
		turn_run(wire.stream);
	if (_i == 1)
		expect_output(&wire, answer, strlen(answer));
	else
		ck_assert_uint_eq(evbuffer_get_length(wire.out), all + 1);
	wire_close(&wire);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("frame_resp");
	TCase *splits = tcase_create("splits"), *limits = tcase_create("limits");
	SRunner *runner;
	int failed, count = (int)(sizeof(cases) / sizeof(cases[0]));

	base = event_base_new();
	tcase_add_loop_test(splits, every_split_in_three, 0, count);
	tcase_add_loop_test(splits, byte_by_byte, 0, count);
	suite_add_tcase(suite, splits);
	tcase_add_test(limits, requests_come_in_runs);
	tcase_add_loop_test(limits, a_request_waits, 0, 2);
	tcase_add_loop_test(limits, lines_have_a_limit, 0, 4);
	tcase_add_test(limits, a_giant_takes_no_memory);
	tcase_add_loop_test(limits, a_request_has_a_limit, 0, 2);
	suite_add_tcase(suite, limits);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	event_base_free(base);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
