/*
 * Framing, with every split of its input: however the bytes are cut into reads, and however the buffer
 * holds them, the same lines and the same telnet answers come out.
 */
#include <check.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/frame_lines.h"
#include "net/instance.h"
#include "net/replies.h"
#include "net/sniff.h"
#include "net/stream.h"
#include "net/stream_parts.h"

#define MAX_LINE 32

static size_t runs, longest_run,
    run_most; /* run_most: messages that the service consumes of a run */

/* Each line as "<line>", so that a missing or a second one shows; a tail as "(tail)". */
static enum verdict show_lines(struct stream *stream, struct run *run)
{
	const struct message *line;

	(void)stream;
	runs++;
	if (run->count > longest_run)
		longest_run = run->count;
	while (run->consumed < run_most && (line = run_next(run)) != NULL) {
		if (line->length == 4 && memcmp(line->bytes, "stop", 4) == 0)
			return VERDICT_CLOSE;
		replies_text(run->replies, run->is_tail ? "(" : "<");
		replies_add(run->replies, line->bytes, line->length);
		replies_text(run->replies, run->is_tail ? ")" : ">");
	}
	return VERDICT_CONTINUE;
}

static const struct refusals refusals = { .long_line = "<long>" };
static const struct handlers handlers = { .flags = HANDLERS_TAIL,
	.framing = &framing_lines,
	.refusals = &refusals,
	.messages = show_lines };
static struct event_base *base;

/* A stream of the test, without a socket: its framing and its two buffers. */
struct wire {
	struct instance instance;
	struct line_settings settings;
	struct stream *stream;
	struct evbuffer *in, *out;
};

static void wire_open(struct wire *wire, bool telnet)
{
	struct stream *s = calloc(1, sizeof(*s) + 256);

	*wire = (struct wire){ .settings = { .max_line = MAX_LINE, .telnet = telnet } };
	wire->instance.lines = &wire->settings;
	wire->stream = s;
	s->instance = &wire->instance;
	s->handlers = &handlers;
	s->channel.bev = bufferevent_socket_new(base, -1, 0);
	wire->in = bufferevent_get_input(s->channel.bev);
	wire->out = bufferevent_get_output(s->channel.bev);
	evbuffer_unfreeze(wire->in, 0);
	evbuffer_unfreeze(wire->out, 1);
	framing_lines.open(s->state, &wire->settings, AF_INET);
	runs = longest_run = 0;
	run_most = SIZE_MAX;
}

static void wire_close(struct wire *wire)
{
	framing_lines.close(wire->stream->state);
	bufferevent_free(wire->stream->channel.bev);
	free(wire->stream);
}

/* A buffer of its own, moved over, stays an extent of its own. */
static void add_extent(struct evbuffer *in, const char *bytes, size_t length)
{
	struct evbuffer *extent = evbuffer_new();

	evbuffer_add(extent, bytes, length);
	evbuffer_add_buffer(in, extent);
	evbuffer_free(extent);
}

/* Serves turn after turn, until no more is to be done. */
static enum verdict serve_all(struct wire *wire)
{
	enum verdict verdict;

	do
		verdict = turn_run(wire->stream);
	while (verdict == VERDICT_CONTINUE && wire->stream->more);
	return verdict;
}

/* One read: bytes in an extent of their own, or behind those that are there already. */
static enum verdict feed(struct wire *wire, const char *bytes, size_t length, bool own_extent)
{
	if (own_extent)
		add_extent(wire->in, bytes, length);
	else
		evbuffer_add(wire->in, bytes, length);
	return serve_all(wire);
}

static void finish(struct wire *wire)
{
	wire->stream->channel.eof = true;
	ck_assert_int_eq(serve_all(wire), VERDICT_CLOSE);
}

static void expect_output(struct wire *wire, const char *expected, size_t length)
{
	ck_assert_uint_eq(evbuffer_get_length(wire->out), length);
	if (length > 0)
		ck_assert_mem_eq(evbuffer_pullup(wire->out, -1), expected, length);
}

#define BYTES(text) (text), sizeof(text) - 1

static const struct {
	const char *in;
	size_t in_length;
	const char *out;
	size_t out_length;
	bool telnet;
} cases[] = {
	{ BYTES("one\ntwo\n"), BYTES("<one><two>"), true },
	{ BYTES("\n\n"), BYTES("<><>"), true },
	{ BYTES("cr\r\nlf\n"), BYTES("<cr\r><lf>"), true },
	{ BYTES("no end"), BYTES("(no end)"), true },
	{ BYTES("one\nrest"), BYTES("<one>(rest)"), true },
	{ BYTES("a\0b\n"), BYTES("<a\0b>"), true },
	{ BYTES(""), BYTES(""), true },
	/* 32 bytes are allowed, a CR behind them too */
	{ BYTES("12345678901234567890123456789012\n"), BYTES("<12345678901234567890123456789012>"),
	    true },
	{ BYTES("12345678901234567890123456789012\r\n"),
	    BYTES("<12345678901234567890123456789012\r>"), true },
	{ BYTES("123456789012345678901234567890123\nnext\n"), BYTES("<long><next>"), true },
	{ BYTES("123456789012345678901234567890123456789012345678901234567890\nnext\n"),
	    BYTES("<long><next>"), true },
	{ BYTES("123456789012345678901234567890123456"), BYTES("<long>"), true },
	/* telnet: the command is gone, the line is whole */
	{ BYTES("he\xff\xf1llo\n"), BYTES("<hello>"), true },
	{ BYTES("he\xff\xffllo\n"), BYTES("<he\xffllo>"), true },
	{ BYTES("\xff\xfd\x01x\n"), BYTES("\xff\xfc\x01<x>"), true },
	{ BYTES("\xff\xfb\x01x\n"), BYTES("\xff\xfe\x01<x>"), true },
	{ BYTES("\xff\xfd\x01\xff\xfd\x01x\n"), BYTES("\xff\xfc\x01<x>"), true },
	{ BYTES("\xff\xfc\x01\xff\xfe\x01x\n"), BYTES("<x>"), true },
	{ BYTES("\xff\xfa\x18\x01\n\xff\xff\n\xff\xf0x\n"), BYTES("<x>"), true },
	{ BYTES("\xff\xfd\x06\xff\xfd\x06"), BYTES("\xff\xfc\x06\xff\xfc\x06"), true },
	{ BYTES("half\xff\xf4\xff\xfd\x06whole\n"), BYTES("\xff\xfc\x06<whole>"), true },
	{ BYTES("half\xff\xf3whole\n"), BYTES("<whole>"), true },
	{ BYTES("half\xff\xedwhole\n"), BYTES("<whole>"), true },
	{ BYTES("a\n\xff\xf6"
		"b\n"),
	    BYTES("<a>[yes]<b>"), true },
	{ BYTES("tail\xff\xf1 end"), BYTES("(tail end)"), true },
	{ BYTES("cr nul\r\0\n"), BYTES("<cr nul\r>"), true },
	{ BYTES("cr nul\r\0\r\n\r\0\r\nx\n"), BYTES("<cr nul\r><\r><x>"), true },
	{ BYTES("\r\0a\r\0\0b\0\r\0\r\0\r\nx\n"), BYTES("<\ra\r\0b\0\r\r><x>"), true },
	{ BYTES("a\xff\xf1\r\xff\xf2\0\r\n"), BYTES("<a\r>"), true },
	{ BYTES("tail\r\0 end\r\0"), BYTES("(tail\r end\r)"), true },
	{ BYTES("12345678901234567890123456789012\r"),
	    BYTES("(12345678901234567890123456789012\r)"), true },
	{ BYTES("123456789012345678901234567890123"), BYTES("<long>"), true },
	{ BYTES("12345678901234567890123456789012\r\0\r\n"),
	    BYTES("<12345678901234567890123456789012\r>"), true },
	{ BYTES("123456789012345678901234567890123\r\0\r\nnext\r\0\r\n"), BYTES("<long><next\r>"),
	    true },
	/* Synch is an interrupt to nobody */
	{ BYTES("SET a\xff\xf2 1\xff\xf5\xff\xf2\n"), BYTES("<SET a 1>"), true },
	{ BYTES("1234567890\xff\xf1"
		"12345678901234567890123\nnext\n"),
	    BYTES("<long><next>"), true },
	{ BYTES("123456789012345678901234567890123456\xff\xf4new\n"), BYTES("<long><new>"), true },
	/* without telnet the bytes are bytes */
	{ BYTES("he\xff\xf1llo\xff\xfd\x01\n"), BYTES("<he\xff\xf1llo\xff\xfd\x01>"), false },
	{ BYTES("cr nul\r\0\n"), BYTES("<cr nul\r\0>"), false },
	{ BYTES("cr\r\0nul\r\0\r\n"), BYTES("<cr\r\0nul\r\0\r>"), false },
};

START_TEST(whole)
{
	struct wire wire;

	wire_open(&wire, cases[_i].telnet);
	feed(&wire, cases[_i].in, cases[_i].in_length, false);
	finish(&wire);
	expect_output(&wire, cases[_i].out, cases[_i].out_length);
	wire_close(&wire);
}
END_TEST

static void split_in_three(int row, size_t first, size_t second, bool own_extents)
{
	const char *in = cases[row].in;
	struct wire wire;

	wire_open(&wire, cases[row].telnet);
	feed(&wire, in, first, own_extents);
	feed(&wire, in + first, second - first, own_extents);
	feed(&wire, in + second, cases[row].in_length - second, own_extents);
	finish(&wire);
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
	struct wire wire;

	wire_open(&wire, cases[_i].telnet);
	for (size_t i = 0; i < cases[_i].in_length; i++)
		feed(&wire, cases[_i].in + i, 1, i % 2 == 0);
	finish(&wire);
	expect_output(&wire, cases[_i].out, cases[_i].out_length);
	wire_close(&wire);
}
END_TEST

START_TEST(stops_at_a_verdict)
{
	struct wire wire;

	wire_open(&wire, true);
	ck_assert_int_eq(feed(&wire, BYTES("a\nstop\nb\n"), false), VERDICT_CLOSE);
	expect_output(&wire, BYTES("<a>"));
	wire_close(&wire);
}
END_TEST

START_TEST(a_turn_is_bounded)
{
	struct wire wire;
	int turns = 1;

	wire_open(&wire, true);
	for (int i = 0; i < 5000; i++)
		evbuffer_add(wire.in, "x\n", 2);
	while (turn_run(wire.stream) == VERDICT_CONTINUE && wire.stream->more)
		turns++;
	ck_assert_uint_eq(evbuffer_get_length(wire.out), 15000);
	ck_assert_int_eq(turns, 5);
	wire_close(&wire);
}
END_TEST

static void fill_output(struct wire *wire, size_t length)
{
	evbuffer_expand(wire->out, length);
	for (size_t i = 0; i < length; i++)
		evbuffer_add(wire->out, ".", 1);
}

START_TEST(a_full_output_ends_the_turn)
{
	struct wire wire;

	wire_open(&wire, true);
	fill_output(&wire, REPLIES_HIGH + 1);
	evbuffer_add(wire.in, "x\n", 2);
	turn_run(wire.stream);
	ck_assert(wire.stream->more);
	ck_assert_uint_eq(evbuffer_get_length(wire.in), 2);
	evbuffer_drain(wire.out, REPLIES_HIGH + 1);
	turn_run(wire.stream);
	ck_assert(!wire.stream->more);
	expect_output(&wire, BYTES("<x>"));
	wire_close(&wire);
}
END_TEST

/* Each line comes once and in order, whatever is consumed of a run. */
START_TEST(lines_come_in_runs)
{
	char shown[100 * 5 + 1] = "";
	struct wire wire;

	wire_open(&wire, true);
	run_most = 5;
	for (int i = 0; i < 100; i++) {
		evbuffer_add_printf(wire.in, "%03d\n", i);
		sprintf(shown + strlen(shown), "<%03d>", i);
	}
	ck_assert_int_eq(serve_all(&wire), VERDICT_CONTINUE);
	ck_assert_uint_eq(runs, 20);
	ck_assert_uint_eq(longest_run, RUN_MAX);
	expect_output(&wire, shown, strlen(shown));
	wire_close(&wire);
}
END_TEST

/* What is no plain line ends a run, and is answered between those before and behind it. */
START_TEST(a_run_keeps_the_order)
{
	static const char long_line[MAX_LINE + 2] = { [0 ... MAX_LINE] = 'x', '\n' };
	struct wire wire;

	wire_open(&wire, true);
	run_most = 5;
	evbuffer_add(wire.in, BYTES("a\nb\n"));
	evbuffer_add(wire.in, long_line, sizeof(long_line));
	evbuffer_add(wire.in, BYTES("c\n\xff\xf1"
				    "d\ne\xff\xf1"
				    "f\ng\nstop\nh\n"));
	ck_assert_int_eq(serve_all(&wire), VERDICT_CLOSE);
	expect_output(&wire, BYTES("<a><b><long><c><d><ef><g>"));
	wire_close(&wire);
}
END_TEST

/* Such a line is changed where it lies: it must not be left in the input for another turn. */
START_TEST(a_changed_line_is_alone_in_its_run)
{
	struct wire wire;

	wire_open(&wire, true);
	run_most = 1;
	evbuffer_add(wire.in, BYTES("a\nb\r\0c\r\0d\ne\n"));
	ck_assert_int_eq(serve_all(&wire), VERDICT_CONTINUE);
	expect_output(&wire, BYTES("<a><b\rc\rd><e>"));
	wire_close(&wire);
}
END_TEST

/* A reader that is behind leaves the rest of a run for later. */
START_TEST(a_run_stops_at_a_full_output)
{
	struct wire wire;

	wire_open(&wire, true);
	evbuffer_add(wire.in, BYTES("a\nb\n"));
	fill_output(&wire, REPLIES_HIGH);
	turn_run(wire.stream);
	ck_assert(wire.stream->more);
	ck_assert_uint_eq(evbuffer_get_length(wire.in), 2);
	evbuffer_drain(wire.out, REPLIES_HIGH);
	turn_run(wire.stream);
	ck_assert(!wire.stream->more);
	expect_output(&wire, BYTES("<a><b>"));
	wire_close(&wire);
}
END_TEST

/* From when on line_timeout runs: telnet's commands within the line do not begin it anew. */
START_TEST(notes_when_a_line_begins)
{
	struct wire wire;

	wire_open(&wire, true);
	wire.stream->active = 1;
	feed(&wire, BYTES("a\nb"), false);
	ck_assert_int_eq(wire.stream->line_since, 1);
	wire.stream->active = 2;
	feed(&wire, BYTES("\xff\xf1"), false);
	ck_assert_int_eq(wire.stream->line_since, 1);
	wire.stream->active = 3;
	feed(&wire, BYTES("\nc"), false);
	ck_assert_int_eq(wire.stream->line_since, 3);
	feed(&wire, BYTES("\n"), false);
	ck_assert_int_eq(wire.stream->line_since, 0);
	wire_close(&wire);
}
END_TEST

static const struct {
	const char *line;
	enum protocol first, later; /* what it is as first line of a stream, and behind others */
} protocols[] = {
	{ "GET / HTTP/1.1", PROTOCOL_HTTP, PROTOCOL_HTTP },
	{ " PUT  http://h/x\tHTTP/1.0 ", PROTOCOL_HTTP, PROTOCOL_HTTP },
	{ "CONNECT h:1 HTTP/1.1", PROTOCOL_HTTP, PROTOCOL_HTTP },
	{ "PRI * HTTP/2.0", PROTOCOL_HTTP, PROTOCOL_HTTP },
	{ "POST /", PROTOCOL_OURS, PROTOCOL_OURS },
	{ "GET / HTTP/1.2", PROTOCOL_HTTP, PROTOCOL_OURS },
	{ "GET / http/1.1", PROTOCOL_OURS, PROTOCOL_OURS },
	{ "GET / x HTTP/1.1", PROTOCOL_OURS, PROTOCOL_OURS },
	{ "SET /x HTTP/1.1", PROTOCOL_HTTP, PROTOCOL_OURS },
	{ "del /x HTTP/0.9", PROTOCOL_HTTP, PROTOCOL_OURS },
	{ "M-SEARCH /x HTTP/3.0", PROTOCOL_HTTP, PROTOCOL_OURS },
	{ "!#$%&'*+-.^_`|~aZ09 /x HTTP/1.1", PROTOCOL_HTTP, PROTOCOL_OURS },
	{ "SET note HTTP/1.1", PROTOCOL_OURS, PROTOCOL_OURS },
	{ "SET /x HTTP/1.1 y", PROTOCOL_OURS, PROTOCOL_OURS },
	{ "SET /x HTTP/11", PROTOCOL_OURS, PROTOCOL_OURS },
	{ "SET: /x HTTP/1.1", PROTOCOL_OURS, PROTOCOL_OURS },
	{ "S\xc3 /x HTTP/1.1", PROTOCOL_OURS, PROTOCOL_OURS },
	{ "/x HTTP/1.1", PROTOCOL_OURS, PROTOCOL_OURS },
	{ "HTTP/1.1", PROTOCOL_OURS, PROTOCOL_OURS },
	{ "Host: localhost", PROTOCOL_HTTP, PROTOCOL_HTTP },
	{ "\thOST:rebound.example", PROTOCOL_HTTP, PROTOCOL_HTTP },
	{ "host:", PROTOCOL_HTTP, PROTOCOL_HTTP },
	{ "host", PROTOCOL_OURS, PROTOCOL_OURS },
	{ "SET Host: x", PROTOCOL_OURS, PROTOCOL_OURS },
	{ "*3", PROTOCOL_RESP, PROTOCOL_OURS },
	{ "*", PROTOCOL_OURS, PROTOCOL_OURS },
	{ "", PROTOCOL_OURS, PROTOCOL_OURS },
};

START_TEST(knows_other_protocols)
{
	const char *line = protocols[_i].line;

	ck_assert_int_eq(sniff_line(line, strlen(line), true), protocols[_i].first);
	ck_assert_int_eq(sniff_line(line, strlen(line), false), protocols[_i].later);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("lines");
	TCase *framing = tcase_create("framing"), *turns = tcase_create("turns");
	SRunner *runner;
	int failed, rows = (int)(sizeof(cases) / sizeof(cases[0]));

	tcase_set_timeout(framing, 60);
	tcase_add_loop_test(framing, whole, 0, rows);
	tcase_add_loop_test(framing, every_split_in_three, 0, rows);
	tcase_add_loop_test(framing, byte_by_byte, 0, rows);
	tcase_add_loop_test(
	    framing, knows_other_protocols, 0, sizeof(protocols) / sizeof(protocols[0]));
	tcase_add_test(turns, stops_at_a_verdict);
	tcase_add_test(turns, a_turn_is_bounded);
	tcase_add_test(turns, a_full_output_ends_the_turn);
	tcase_add_test(turns, lines_come_in_runs);
	tcase_add_test(turns, a_run_keeps_the_order);
	tcase_add_test(turns, a_changed_line_is_alone_in_its_run);
	tcase_add_test(turns, a_run_stops_at_a_full_output);
	tcase_add_test(turns, notes_when_a_line_begins);
	base = event_base_new();
	suite_add_tcase(suite, framing);
	suite_add_tcase(suite, turns);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	event_base_free(base);
	return failed != 0;
}
