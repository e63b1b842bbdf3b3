/*
 * What verdicts do to a stream, seen from the client's end of a socketpair: replies that wait for a commit, a
 * writable handler that is called again, input that a service leaves lying, the one reason that each end has. And its
 * deadlines, on a clock that the test sets ahead.
 */
#include <check.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "net/admission.h"
#include "net/frame_lines.h"
#include "net/instance.h"
#include "net/loop.h"
#include "net/replies.h"
#include "net/settings.h"
#include "net/stream.h"
#include "net/stream_parts.h"

static struct loop *loop;
static struct instance *instance;
static struct instance_settings settings;
static struct line_settings lines;
static struct stream *opened; /* the stream under test, until it has ended */
static int client;
static int64_t ahead_ms; /* of the real clock */
static bool busy;        /* what the service says */

/* In the place of the C library's, for us and for libevent. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = (int)syscall(SYS_clock_gettime, clock, now);

	now->tv_sec += ahead_ms / 1000;
	now->tv_nsec += ahead_ms % 1000 * 1000000;
	if (now->tv_nsec >= 1000000000) {
		now->tv_sec++;
		now->tv_nsec -= 1000000000;
	}
	return result;
}

static enum verdict note_open(struct stream *stream, struct evbuffer *out)
{
	opened = stream;
	evbuffer_add(out, "hello\n", 6);
	return VERDICT_CONTINUE;
}

static void note_close(struct stream *stream)
{
	ck_assert_ptr_eq(stream, opened);
	opened = NULL;
}

/* "wait" waits for commit 1, "bye" closes, "foul" is another protocol, "die" resets; all are answered. */
static enum verdict obey(struct stream *stream, struct run *run)
{
	static const struct {
		const char *word;
		enum verdict verdict;
	} words[] = { { "bye", VERDICT_CLOSE }, { "foul", VERDICT_PROTOCOL },
		{ "die", VERDICT_ABORT } };
	enum verdict verdict = VERDICT_CONTINUE;
	const struct message *line;

	(void)stream;
	while (verdict == VERDICT_CONTINUE && (line = run_next(run)) != NULL) {
		if (line->length == 4 && memcmp(line->bytes, "wait", 4) == 0) {
			replies_promise(run->replies, 1, "wait\n");
			continue;
		}
		replies_add(run->replies, line->bytes, line->length);
		replies_text(run->replies, "\n");
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
			if (strlen(words[i].word) == line->length &&
			    memcmp(words[i].word, line->bytes, line->length) == 0)
				verdict = words[i].verdict;
	}
	return verdict;
}

/* Says "x" fifty times, once each time that there is room, and then that it is done. */
static enum verdict say_fifty(struct stream *stream, struct evbuffer *out)
{
	int *said = stream_state(stream);

	if (*said == 50)
		return VERDICT_CLOSE;
	++*said;
	evbuffer_add(out, "x", 1);
	return VERDICT_CONTINUE;
}

/* Takes one byte of what is there. */
static enum verdict take_one(struct stream *stream, struct evbuffer *in, struct evbuffer *out)
{
	char byte;

	(void)stream;
	evbuffer_remove(in, &byte, 1);
	evbuffer_add(out, &byte, 1);
	return VERDICT_CONTINUE;
}

/* More than the kernel and the client's buffers take. */
static enum verdict say_much(struct stream *stream, struct evbuffer *in, struct evbuffer *out)
{
	static const char much[900 * 1024];

	(void)stream;
	evbuffer_drain(in, evbuffer_get_length(in));
	if (evbuffer_get_length(out) < sizeof(much) / 2)
		evbuffer_add(out, much, sizeof(much));
	return VERDICT_CONTINUE;
}

static enum verdict say_much_and_close(
    struct stream *stream, struct evbuffer *in, struct evbuffer *out)
{
	say_much(stream, in, out);
	return VERDICT_CLOSE;
}

static bool is_busy(struct stream *stream)
{
	(void)stream;
	return busy;
}

static const struct refusals refusals = { .over_limit = "no\n" };
static const struct handlers line_handlers = { .framing = &framing_lines,
	.failure = "failed\n",
	.refusals = &refusals,
	.open = note_open,
	.messages = obey,
	.close = note_close };
static const struct handlers room_handlers = { .conn_size = sizeof(int), .writable = say_fifty };
static const struct handlers data_handlers = {
	.open = note_open, .bytes = take_one, .busy = is_busy, .close = note_close
};
static const struct handlers much_handlers = {
	.open = note_open, .bytes = say_much, .close = note_close
};
static const struct handlers last_handlers = {
	.open = note_open, .bytes = say_much_and_close, .close = note_close
};

static void setup(void)
{
	loop = loop_new(10, stream_check, streams_flush_cb);
	instance = instance_new(loop, "test");
	settings = (struct instance_settings){ .max_connections = 10, .idle_timeout = 0 };
	lines = (struct line_settings){ .max_line = 64 };
	instance->settings = &settings;
	instance->max_per_source = 10;
	instance->lines = &lines;
	TAILQ_INSERT_TAIL(&loop->instances, instance, entry);
	opened = NULL;
	busy = false;
}

static void teardown(void)
{
	streams_abort(instance, CLOSE_SHUTDOWN);
	TAILQ_REMOVE(&loop->instances, instance, entry);
	instance_free(instance);
	loop_free(loop);
	close(client);
}

static void connect_client(const struct handlers *handlers)
{
	const struct peer peer = { .family = AF_UNIX };
	enum limit limit;
	int ends[2];

	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
	client = ends[0];
	instance->handlers = handlers;
	ck_assert_int_eq(admission_enter(instance, &peer, &limit), ADMIT);
	stream_open(instance, NULL, ends[1], &peer);
}

/* The same over TCP, which tells how much of its queue the client has taken; the client's buffer is small. */
static void connect_over_tcp(const struct handlers *handlers)
{
	struct sockaddr_in here = { .sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), fd, small = 4096,
	    unsent = 128 * 1024;
	socklen_t length = sizeof(here);
	enum limit limit;
	struct peer peer;

	client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(setsockopt(client, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	setsockopt(listener, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &unsent, sizeof(unsent));
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&here, length), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&here, &length), 0);
	ck_assert_int_eq(connect(client, (struct sockaddr *)&here, length), 0);
	setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
	fd = accept4(listener, (struct sockaddr *)&here, &length, SOCK_NONBLOCK | SOCK_CLOEXEC);
	ck_assert_int_ne(fd, -1);
	close(listener);
	instance->handlers = handlers;
	peer_set(&peer, (struct sockaddr *)&here, length);
	ck_assert_int_eq(admission_enter(instance, &peer, &limit), ADMIT);
	stream_open(instance, NULL, fd, &peer);
}

/* Turns the loop until nothing more is ready. */
static void settle_loop(void)
{
	for (int i = 0; i < 1000; i++)
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
}

static void expect_bytes(const char *expected)
{
	char bytes[512];
	ssize_t n;

	settle_loop();
	n = recv(client, bytes, sizeof(bytes) - 1, MSG_DONTWAIT);
	bytes[n > 0 ? n : 0] = '\0';
	ck_assert_str_eq(bytes, expected);
}

static void expect_eof(void)
{
	char byte;

	settle_loop();
	ck_assert_int_eq(recv(client, &byte, 1, MSG_DONTWAIT), 0);
}

static void expect_end(enum close_reason reason)
{
	settle_loop();
	ck_assert_ptr_null(opened);
	ck_assert_uint_eq(instance->counters.closed[reason], 1);
	ck_assert_uint_eq(instance->stream_count, 0);
	ck_assert_uint_eq(loop->streams, 0);
}

static void say(const char *text)
{
	ck_assert_int_eq(send(client, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

/* Commit 1 has worked, or has failed. */
static void resolve_commit(bool works)
{
	streams_resolve(instance, works ? 1 : 0, 1);
	ck_assert(LIST_EMPTY(&instance->waiters));
}

START_TEST(replies_wait_for_their_commit)
{
	connect_client(&line_handlers);
	expect_bytes("hello\n");
	say("wait\nalso\n");
	expect_bytes("");
	say("later\n"); /* is read, and its reply waits behind the others */
	expect_bytes("");
	resolve_commit(_i == 0);
	expect_bytes(_i == 0 ? "wait\nalso\nlater\n" : "failed\nalso\nlater\n");
}
END_TEST

START_TEST(an_eof_waits_for_the_commit)
{
	connect_client(&line_handlers);
	expect_bytes("hello\n");
	say("wait\n");
	settle_loop();
	shutdown(client, SHUT_WR);
	expect_bytes("");
	resolve_commit(true);
	expect_bytes("wait\n");
	expect_end(CLOSE_CLIENT_EOF);
}
END_TEST

START_TEST(a_goodbye_behind_a_waiting_reply_waits)
{
	connect_client(&line_handlers);
	expect_bytes("hello\n");
	say("wait\nbye\nnever\n");
	expect_bytes("");
	resolve_commit(true);
	expect_bytes("wait\nbye\n");
	expect_eof();
	shutdown(client, SHUT_WR);
	expect_end(CLOSE_QUIT);
}
END_TEST

/* Replies that wait take memory: past a bound the client is not read, and what it has sent is served later. */
START_TEST(waiting_replies_are_bounded)
{
	static char lines_sent[200 * 1024], answered[sizeof(lines_sent)];
	size_t sent = 0, come = 0;
	ssize_t n;

	lines.max_line = 4096;
	connect_client(&line_handlers);
	expect_bytes("hello\n");
	say("wait\n");
	memset(lines_sent, 'x', sizeof(lines_sent));
	for (size_t i = 1024; i <= sizeof(lines_sent); i += 1024)
		lines_sent[i - 1] = '\n';
	while ((n = send(client, lines_sent + sent, sizeof(lines_sent) - sent, MSG_DONTWAIT)) > 0 ||
	       sent < 180 * 1024) {
		sent += n > 0 ? (size_t)n : 0;
		settle_loop();
		if (n <= 0)
			break;
	}
	ck_assert_uint_gt(stream_unsent(opened), REPLIES_HIGH - 2048);
	ck_assert_uint_lt(stream_unsent(opened), REPLIES_HIGH + 2048);
	resolve_commit(true);
	for (int i = 0; i < 20; i++) {
		settle_loop();
		while (
		    (n = recv(client, answered + come, sizeof(answered) - come, MSG_DONTWAIT)) > 0)
			come += (size_t)n;
		n = send(client, lines_sent + sent, sizeof(lines_sent) - sent, MSG_DONTWAIT);
		sent += n > 0 ? (size_t)n : 0;
		if (come >= sizeof(lines_sent))
			break;
	}
	ck_assert_mem_eq(answered, "wait\nxxx", 8);
	ck_assert_mem_eq(answered + 5, lines_sent, sizeof(lines_sent) - 1024);
}
END_TEST

/* Telnet's CR NUL CR is longer than other ends of a line; a reload may have made the line too long meanwhile. */
START_TEST(a_half_line_does_not_keep_its_end_out)
{
	static const char half[200 * 1024];

	lines = (struct line_settings){ .max_line = sizeof(half), .telnet = true };
	connect_over_tcp(&line_handlers);
	say("wait\n");
	for (size_t sent = 0; sent < sizeof(half); sent += 4096) {
		ck_assert_int_eq(send(client, half + sent, 4096, MSG_NOSIGNAL), 4096);
		settle_loop();
	}
	ck_assert_int_eq(send(client, "\r\0\r", 3, MSG_NOSIGNAL), 3);
	settle_loop();
	if (_i == 1)
		lines.max_line = 64;
	resolve_commit(true);
	settle_loop();
	say("\n");
	settle_loop();
	ck_assert_uint_eq(opened->bytes_in, strlen("wait\n") + sizeof(half) + strlen("\r0\r\n"));
}
END_TEST

START_TEST(close_waits_for_the_client)
{
	connect_client(&line_handlers);
	say("a\nbye\nb\n");
	expect_bytes("hello\na\nbye\n");
	expect_eof();
	ck_assert_ptr_nonnull(opened);
	say("still sending");
	settle_loop();
	ck_assert_ptr_nonnull(opened);
	shutdown(client, SHUT_WR);
	expect_end(CLOSE_QUIT);
}
END_TEST

START_TEST(reasons)
{
	static const struct {
		const char *words;
		enum close_reason reason;
	} ends[] = { { "bye\n", CLOSE_QUIT }, { "foul\n", CLOSE_PROTOCOL },
		{ "die\n", CLOSE_RESET }, { "", CLOSE_CLIENT_EOF } };

	connect_client(&line_handlers);
	say(ends[_i].words);
	settle_loop();
	shutdown(client, SHUT_WR);
	expect_end(ends[_i].reason);
}
END_TEST

START_TEST(a_drained_stream_answers_what_was_sent)
{
	connect_client(&line_handlers);
	say("a\nb\nhalf");
	streams_drain(instance, CLOSE_SHUTDOWN);
	expect_bytes("hello\na\nb\n");
	expect_eof();
	shutdown(client, SHUT_WR);
	expect_end(CLOSE_SHUTDOWN);
}
END_TEST

START_TEST(a_refused_client_is_in_no_ones_count)
{
	const struct peer peer = { .family = AF_UNIX };
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	client = ends[0];
	instance->handlers = &line_handlers;
	stream_refuse(instance, NULL, ends[1], &peer, LIMIT_CLIENTS);
	ck_assert_uint_eq(loop->refused, 1);
	ck_assert_uint_eq(loop->streams, 0);
	expect_bytes("no\n");
	expect_eof();
	shutdown(client, SHUT_WR);
	settle_loop();
	ck_assert_uint_eq(loop->refused, 0);
	ck_assert_uint_eq(loop->arrivals.count, 0);
	ck_assert_uint_eq(instance->counters.closed[CLOSE_LIMIT], 1);
	ck_assert_uint_eq(instance->counters.refused[LIMIT_CLIENTS], 1);
}
END_TEST

START_TEST(room_is_asked_until_it_is_done)
{
	char expected[51];

	memset(expected, 'x', 50);
	expected[50] = '\0';
	connect_client(&room_handlers);
	expect_bytes(expected);
	expect_eof();
}
END_TEST

START_TEST(input_left_lying_comes_again_on_resume)
{
	connect_client(&data_handlers);
	expect_bytes("hello\n");
	say("abcd");
	expect_bytes("a");
	stream_resume(opened);
	expect_bytes("b");
	shutdown(client, SHUT_WR);
	expect_bytes("c"); /* the EOF asks once more, and leaves a byte that is not taken yet */
	ck_assert_ptr_nonnull(opened);
	stream_resume(opened);
	expect_bytes("d");
	expect_end(CLOSE_CLIENT_EOF);
}
END_TEST

START_TEST(a_drain_waits_for_the_commit)
{
	connect_client(&line_handlers);
	expect_bytes("hello\n");
	say("wait\n");
	settle_loop();
	say("later\n");
	streams_drain(instance, CLOSE_SHUTDOWN);
	expect_bytes("");
	resolve_commit(true);
	expect_bytes("wait\nlater\n");
	expect_eof();
}
END_TEST

/* --- deadlines --- */

/* A second passes, and the loop has seen that it has. */
static void wait_a_second(void)
{
	for (int i = 0; i < 20; i++) {
		ahead_ms += 50;
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
		event_base_loop(loop->base, EVLOOP_NONBLOCK);
	}
}

/* Seconds until the stream is no more; -1 when that takes more than so many. */
static int seconds_to_live(int most)
{
	for (int i = 1; i <= most; i++) {
		wait_a_second();
		if (opened == NULL)
			return i;
	}
	return -1;
}

START_TEST(a_client_that_waits_is_idle_after_the_commit)
{
	settings.idle_timeout = 5000;
	connect_client(&line_handlers);
	say("wait\n");
	settle_loop();
	ck_assert_int_eq(seconds_to_live(60), -1);
	resolve_commit(true);
	ck_assert_int_ge(seconds_to_live(10), 5);
	expect_end(CLOSE_IDLE);
}
END_TEST

/* The commit takes its time; the client has it from then on. */
START_TEST(a_half_line_has_time_while_a_commit_is_awaited)
{
	lines.line_timeout = 5000;
	connect_client(&line_handlers);
	say("wait\nhalf");
	settle_loop();
	ck_assert_int_eq(seconds_to_live(60), -1);
	resolve_commit(true);
	ck_assert_int_ge(seconds_to_live(10), 5);
	expect_end(CLOSE_IDLE);
}
END_TEST

START_TEST(a_new_idle_timeout_holds_at_once)
{
	settings.idle_timeout = _i == 0 ? 0 : 300000;
	connect_client(&line_handlers);
	settle_loop();
	ck_assert_int_eq(seconds_to_live(10), -1);
	settings.idle_timeout = 20000;
	streams_recheck(instance);
	ck_assert_int_ge(seconds_to_live(20), 9);
	expect_end(CLOSE_IDLE);
}
END_TEST

START_TEST(a_new_line_timeout_holds_at_once)
{
	lines.line_timeout = _i == 0 ? 0 : 300000;
	connect_client(&line_handlers);
	say("half");
	settle_loop();
	ck_assert_int_eq(seconds_to_live(10), -1);
	lines.line_timeout = 20000;
	streams_recheck(instance);
	ck_assert_int_ge(seconds_to_live(20), 9);
	expect_end(CLOSE_IDLE);
}
END_TEST

START_TEST(what_a_service_is_busy_with_is_not_idle)
{
	settings.idle_timeout = 5000;
	connect_client(&data_handlers);
	busy = true;
	ck_assert_int_eq(seconds_to_live(60), -1);
	busy = false;
	ck_assert_int_ne(seconds_to_live(10), -1);
	expect_end(CLOSE_IDLE);
}
END_TEST

/* Closed with input unread, it would get a reset in the place of what is on its way to it. */
START_TEST(an_idle_client_is_not_reset)
{
	static const char much[150 * 1024];
	ssize_t n;

	settings.idle_timeout = 5000;
	connect_client(&data_handlers);
	ck_assert_int_gt(send(client, much, sizeof(much), 0), 0);
	settle_loop();
	ck_assert_int_gt(send(client, much, 1000, 0), 0);
	ck_assert_int_ge(seconds_to_live(10), 5);
	ck_assert_uint_eq(instance->counters.closed[CLOSE_IDLE], 1);
	do
		n = recv(client, (char[1000]){ 0 }, 1000, MSG_DONTWAIT);
	while (n > 0);
	ck_assert_int_eq(n, 0);
}
END_TEST

START_TEST(a_reader_that_takes_a_little_is_no_slow_reader)
{
	char bytes[3000];

	settings.idle_timeout = _i == 0 ? 0 : 20000;
	connect_over_tcp(&much_handlers);
	say("more");
	for (int i = 0; i < 100; i++) {
		ck_assert_int_ne(recv(client, bytes, sizeof(bytes), 0), -1);
		wait_a_second();
	}
	ck_assert_ptr_nonnull(opened);
	ck_assert_int_ne(seconds_to_live(40), -1);
	expect_end(_i == 0 ? CLOSE_SLOW_READER : CLOSE_IDLE);
}
END_TEST

/* What fits into the kernel is sent as far as we are concerned; the client is not idle while it takes it. */
START_TEST(a_reader_of_the_kernels_queue_is_not_idle)
{
	static const char much[100 * 1024];
	struct evbuffer *bytes = evbuffer_new();

	settings.idle_timeout = 5000;
	connect_over_tcp(&line_handlers);
	evbuffer_add(bytes, much, sizeof(much));
	stream_send(opened, bytes, VERDICT_CONTINUE);
	for (int i = 0; i < 30; i++) {
		ck_assert_int_ne(recv(client, (char[3000]){ 0 }, 3000, 0), -1);
		wait_a_second();
	}
	ck_assert_ptr_nonnull(opened);
	ck_assert_int_ne(seconds_to_live(15), -1);
	expect_end(CLOSE_IDLE);
	evbuffer_free(bytes);
}
END_TEST

/* Whatever it sends, before we are done with it or after. */
START_TEST(a_client_that_only_sends_is_a_slow_reader)
{
	int seconds = 0;

	connect_over_tcp(_i == 0 ? &much_handlers : &last_handlers);
	say("more");
	settle_loop();
	for (; opened != NULL && seconds < 100; seconds++) {
		send(client, "x", 1, MSG_NOSIGNAL);
		wait_a_second();
	}
	ck_assert_int_ge(seconds, 30);
	ck_assert_int_le(seconds, 36);
	expect_end(CLOSE_SLOW_READER);
}
END_TEST

START_TEST(a_client_that_never_leaves_lingers_for_two_seconds)
{
	connect_client(&line_handlers);
	say("bye\n");
	settle_loop();
	for (int i = 0; i < 10 && opened != NULL; i++) {
		send(client, "x", 1, MSG_NOSIGNAL);
		ck_assert_int_le(i, 3);
		wait_a_second();
	}
	expect_end(CLOSE_QUIT);
}
END_TEST

START_TEST(a_service_may_speak_by_itself)
{
	struct evbuffer *bytes = evbuffer_new();

	connect_client(&line_handlers);
	expect_bytes("hello\n");
	evbuffer_add(bytes, "news\n", 5);
	stream_send(opened, bytes, VERDICT_CONTINUE);
	expect_bytes("news\n");
	stream_send(opened, bytes, VERDICT_CLOSE);
	expect_eof();
	evbuffer_free(bytes);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("stream");
	TCase *verdicts = tcase_create("verdicts"), *deadlines = tcase_create("deadlines");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(verdicts, setup, teardown);
	tcase_add_loop_test(verdicts, replies_wait_for_their_commit, 0, 2);
	tcase_add_test(verdicts, an_eof_waits_for_the_commit);
	tcase_add_test(verdicts, a_goodbye_behind_a_waiting_reply_waits);
	tcase_add_test(verdicts, close_waits_for_the_client);
	tcase_add_loop_test(verdicts, reasons, 0, 4);
	tcase_add_test(verdicts, a_drained_stream_answers_what_was_sent);
	tcase_add_test(verdicts, a_refused_client_is_in_no_ones_count);
	tcase_add_test(verdicts, room_is_asked_until_it_is_done);
	tcase_add_test(verdicts, input_left_lying_comes_again_on_resume);
	tcase_add_test(verdicts, a_service_may_speak_by_itself);
	tcase_add_test(verdicts, waiting_replies_are_bounded);
	tcase_add_loop_test(verdicts, a_half_line_does_not_keep_its_end_out, 0, 2);
	tcase_add_test(verdicts, a_drain_waits_for_the_commit);
	suite_add_tcase(suite, verdicts);
	tcase_add_checked_fixture(deadlines, setup, teardown);
	tcase_add_test(deadlines, a_client_that_waits_is_idle_after_the_commit);
	tcase_add_test(deadlines, a_half_line_has_time_while_a_commit_is_awaited);
	tcase_add_loop_test(deadlines, a_new_idle_timeout_holds_at_once, 0, 2);
	tcase_add_loop_test(deadlines, a_new_line_timeout_holds_at_once, 0, 2);
	tcase_add_test(deadlines, what_a_service_is_busy_with_is_not_idle);
	tcase_add_test(deadlines, an_idle_client_is_not_reset);
	tcase_add_loop_test(deadlines, a_reader_that_takes_a_little_is_no_slow_reader, 0, 2);
	tcase_add_test(deadlines, a_reader_of_the_kernels_queue_is_not_idle);
	tcase_add_loop_test(deadlines, a_client_that_only_sends_is_a_slow_reader, 0, 2);
	tcase_add_test(deadlines, a_client_that_never_leaves_lingers_for_two_seconds);
	suite_add_tcase(suite, deadlines);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
