/*
 * What verdicts do to a stream, seen from the client's end of a socketpair: replies that are held, a room
 * handler that is asked again, input that a service leaves lying, the one reason that each end has.
 */
#include <check.h>
#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/instance.h"
#include "net/loop.h"
#include "net/stream.h"

static struct loop *loop;
static struct instance *instance;
static struct instance_settings settings;
static struct line_settings lines;
static struct stream *opened; /* the stream under test, until it has ended */
static int client;

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

/* "hold" is held, "bye" closes, "foul" is another protocol, "die" resets; all others are answered. */
static enum verdict obey(struct stream *stream, struct evbuffer *out, char *line, size_t length)
{
	static const struct {
		const char *word;
		enum verdict verdict;
	} words[] = { { "hold", VERDICT_HOLD }, { "bye", VERDICT_CLOSE },
		{ "foul", VERDICT_PROTOCOL }, { "die", VERDICT_ABORT } };

	(void)stream;
	evbuffer_add(out, line, length);
	evbuffer_add(out, "\n", 1);
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strlen(words[i].word) == length && memcmp(words[i].word, line, length) == 0)
			return words[i].verdict;
	return VERDICT_CONTINUE;
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

static const struct handlers line_handlers = {
	.open = note_open, .line = obey, .close = note_close, .refusal = "no\n"
};
static const struct handlers room_handlers = { .conn_size = sizeof(int), .room = say_fifty };
static const struct handlers data_handlers = {
	.open = note_open, .data = take_one, .close = note_close
};

static void setup(void)
{
	loop = loop_new(10);
	instance = instance_new(loop, "test");
	settings = (struct instance_settings){ .max_connections = 10, .idle_timeout = 0 };
	lines = (struct line_settings){ .max_line = 64 };
	instance->settings = &settings;
	instance->lines = &lines;
	TAILQ_INSERT_TAIL(&loop->instances, instance, entry);
	opened = NULL;
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
	const struct sockaddr peer = { .sa_family = AF_UNIX };
	int ends[2];

	ck_assert_int_eq(
	    socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, ends), 0);
	client = ends[0];
	instance->handlers = handlers;
	stream_open(instance, NULL, ends[1], &peer, sizeof(sa_family_t));
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

START_TEST(held_replies_wait_for_the_release)
{
	connect_client(&line_handlers);
	expect_bytes("hello\n");
	say("hold\nalso\n");
	expect_bytes("");
	say("later\n"); /* is not even read */
	expect_bytes("");
	stream_release(opened, VERDICT_CONTINUE);
	expect_bytes("hold\nalso\nlater\n");
}
END_TEST

START_TEST(an_eof_is_noticed_after_the_release)
{
	connect_client(&line_handlers);
	expect_bytes("hello\n");
	say("hold\n");
	settle_loop();
	shutdown(client, SHUT_WR);
	expect_bytes("");
	stream_release(opened, VERDICT_CONTINUE);
	expect_bytes("hold\n");
	expect_end(CLOSE_CLIENT_EOF);
}
END_TEST

START_TEST(a_goodbye_behind_a_held_reply_is_held)
{
	connect_client(&line_handlers);
	expect_bytes("hello\n");
	say("hold\nbye\nnever\n");
	expect_bytes("");
	stream_release(opened, VERDICT_CONTINUE);
	expect_bytes("hold\nbye\n");
	expect_eof();
	shutdown(client, SHUT_WR);
	expect_end(CLOSE_QUIT);
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
	const struct sockaddr peer = { .sa_family = AF_UNIX };
	int ends[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends), 0);
	client = ends[0];
	instance->handlers = &line_handlers;
	stream_refuse(instance, NULL, ends[1], &peer, sizeof(sa_family_t), LIMIT_CLIENTS);
	ck_assert_uint_eq(loop->refused, 1);
	ck_assert_uint_eq(loop->streams, 0);
	expect_bytes("no\n");
	expect_eof();
	shutdown(client, SHUT_WR);
	settle_loop();
	ck_assert_uint_eq(loop->refused, 0);
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
	TCase *verdicts = tcase_create("verdicts");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(verdicts, setup, teardown);
	tcase_add_test(verdicts, held_replies_wait_for_the_release);
	tcase_add_test(verdicts, an_eof_is_noticed_after_the_release);
	tcase_add_test(verdicts, a_goodbye_behind_a_held_reply_is_held);
	tcase_add_test(verdicts, close_waits_for_the_client);
	tcase_add_loop_test(verdicts, reasons, 0, 4);
	tcase_add_test(verdicts, a_drained_stream_answers_what_was_sent);
	tcase_add_test(verdicts, a_refused_client_is_in_no_ones_count);
	tcase_add_test(verdicts, room_is_asked_until_it_is_done);
	tcase_add_test(verdicts, input_left_lying_comes_again_on_resume);
	tcase_add_test(verdicts, a_service_may_speak_by_itself);
	suite_add_tcase(suite, verdicts);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed != 0;
}
