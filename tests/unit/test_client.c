/* Those that left last, and walks over those that are here while they come and go. */
#include <check.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/admission.h"
#include "net/client.h"
#include "net/instance.h"
#include "net/loop.h"
#include "net/settings.h"
#include "net/stream.h"

#define CLIENTS 6

static struct loop *loop;
static struct instance *instances[3];
static struct instance_settings settings = { .max_connections = 100 };
static const struct handlers handlers = { .refusals =
					      &(const struct refusals){ .over_limit = "no\n" } };
static int ends[CLIENTS];

static void add_client(int i, struct instance *instance)
{
	const struct peer peer = { .family = AF_UNIX };
	enum limit limit;
	int pair[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair), 0);
	ends[i] = pair[0];
	ck_assert_int_eq(admission_enter(instance, &peer, &limit), ADMIT);
	stream_open(instance, NULL, pair[1], &peer);
}

/* Three of the first, none of the second, three of the third: their ids are 1 to 6. */
static void setup(void)
{
	static const char *const names[] = { "one", "two", "three" };

	loop = loop_new(100, stream_check, streams_flush_cb);
	for (int i = 0; i < 3; i++) {
		instances[i] = instance_new(loop, names[i]);
		instances[i]->settings = &settings;
		instances[i]->handlers = &handlers;
		TAILQ_INSERT_TAIL(&loop->instances, instances[i], entry);
	}
	for (int i = 0; i < CLIENTS; i++)
		add_client(i, instances[i < 3 ? 0 : 2]);
}

static void teardown(void)
{
	struct instance *instance;

	while ((instance = TAILQ_FIRST(&loop->instances)) != NULL) {
		streams_abort(instance, CLOSE_SHUTDOWN);
		TAILQ_REMOVE(&loop->instances, instance, entry);
		instance_free(instance);
	}
	loop_free(loop);
	for (int i = 0; i < CLIENTS; i++)
		close(ends[i]);
}

/* The id of the next one; 0 at the end. */
static uint64_t next(struct client_iterator *walk)
{
	const struct stream *stream = client_iterator_next(walk);
	struct client client;

	if (stream == NULL)
		return 0;
	stream_describe(stream, &client);
	return client.id;
}

static void end(uint64_t id)
{
	stream_kill(stream_find(loop, id));
}

START_TEST(walk_sees_all_in_order)
{
	struct client_iterator walk;

	client_iterator_begin(&walk, loop);
	for (uint64_t id = 1; id <= CLIENTS; id++)
		ck_assert_uint_eq(next(&walk), id);
	ck_assert_uint_eq(next(&walk), 0);
	ck_assert_uint_eq(next(&walk), 0);
	client_iterator_end(&walk);
}
END_TEST

START_TEST(walk_steps_over_who_has_ended)
{
	struct client_iterator walk, other;

	client_iterator_begin(&walk, loop);
	client_iterator_begin(&other, loop);
	ck_assert_uint_eq(next(&walk), 1);
	end(1); /* the one behind us */
	end(2); /* the next one */
	ck_assert_uint_eq(next(&walk), 3);
	end(4); /* the first of the next instance that has any */
	ck_assert_uint_eq(next(&walk), 5);
	end(6);
	ck_assert_uint_eq(next(&walk), 0);
	ck_assert_uint_eq(next(&other), 3);
	client_iterator_end(&walk);
	client_iterator_end(&other);
}
END_TEST

START_TEST(walk_leaves_an_instance_that_goes)
{
	struct client_iterator walk;

	client_iterator_begin(&walk, loop);
	ck_assert_uint_eq(next(&walk), 1);
	client_iterators_pass_instance(loop, instances[0]);
	TAILQ_REMOVE(&loop->instances, instances[0], entry);
	ck_assert_uint_eq(next(&walk), 4);
	client_iterator_end(&walk);
	TAILQ_INSERT_TAIL(&loop->instances, instances[0], entry);
}
END_TEST

/* The id of the n-th last one, 0 being the last; 0 when there is none. */
static uint64_t left_id(const struct recent_clients *left, uint64_t n)
{
	struct recent_clients_iterator walk = { 0 };
	const struct client *client;

	do
		client = recent_clients_next(left, &walk);
	while (client != NULL && n-- > 0);
	return client == NULL ? 0 : client->id;
}

START_TEST(ring_keeps_the_last)
{
	struct recent_clients *left = calloc(1, sizeof(*left));

	ck_assert_uint_eq(left_id(left, 0), 0);
	for (uint64_t id = 1; id <= 2 * RECENT_CLIENTS + 3; id++) {
		recent_clients_add(left, false)->id = id;
		ck_assert_uint_eq(left_id(left, 0), id);
	}
	for (uint64_t i = 0; i < RECENT_CLIENTS; i++)
		ck_assert_uint_eq(left_id(left, i), 2 * RECENT_CLIENTS + 3 - i);
	ck_assert_uint_eq(left_id(left, RECENT_CLIENTS), 0);
	free(left);
}
END_TEST

START_TEST(refused_clients_push_out_each_other_only)
{
	struct recent_clients *left = calloc(1, sizeof(*left));

	*recent_clients_add(left, false) = (struct client){ .id = 1, .departed = 1 };
	for (int64_t time = 2; time < 3 * RECENT_REFUSED; time++)
		*recent_clients_add(left, true) = (struct client){ .id = 100, .departed = time };
	*recent_clients_add(left, false) = (struct client){ .id = 2, .departed = INT64_MAX };
	ck_assert_uint_eq(left_id(left, 0), 2);
	for (uint64_t i = 1; i <= RECENT_REFUSED; i++)
		ck_assert_uint_eq(left_id(left, i), 100);
	ck_assert_uint_eq(left_id(left, RECENT_REFUSED + 1), 1);
	ck_assert_uint_eq(left_id(left, RECENT_REFUSED + 2), 0);
	free(left);
}
END_TEST

START_TEST(who_ends_is_remembered)
{
	struct recent_clients_iterator walk = { 0 };
	const struct client *client;

	end(5);
	client = recent_clients_next(&loop->recent_clients, &walk);
	ck_assert_uint_eq(client->id, 5);
	ck_assert_str_eq(client->service, "three");
	ck_assert_int_eq(client->reason, CLOSE_DENIED);
	ck_assert_ptr_null(recent_clients_next(&loop->recent_clients, &walk));
	ck_assert_ptr_null(stream_find(loop, 5));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("client");
	TCase *tc = tcase_create("client");
	SRunner *sr = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, walk_sees_all_in_order);
	tcase_add_test(tc, walk_steps_over_who_has_ended);
	tcase_add_test(tc, walk_leaves_an_instance_that_goes);
	tcase_add_test(tc, ring_keeps_the_last);
	tcase_add_test(tc, refused_clients_push_out_each_other_only);
	tcase_add_test(tc, who_ends_is_remembered);
	suite_add_tcase(s, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
