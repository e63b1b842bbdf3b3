/* The datagram guards, with a clock of the test's own. */
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "net/guard.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

union address {
	struct sockaddr any;
	struct sockaddr_in in;
	struct sockaddr_in6 in6;
	struct sockaddr_un un;
};

static struct guard *guard;
static struct own_ports *own;
static struct guard_rules rules;

static void setup(void)
{
	guard = guard_new();
	own = calloc(1, sizeof(*own));
	rules = (struct guard_rules){ 0 };
	ck_assert_ptr_nonnull(guard);
	ck_assert_ptr_nonnull(own);
	own_ports_add(own, 9001);
	own_ports_add(own, 53);
}

static void teardown(void)
{
	guard_free(guard);
	free(own);
}

static union address address_of(const char *text, uint16_t port)
{
	union address address = { 0 };

	if (inet_pton(AF_INET, text, &address.in.sin_addr) == 1) {
		address.in.sin_family = AF_INET;
		address.in.sin_port = htons(port);
	} else {
		ck_assert_int_eq(inet_pton(AF_INET6, text, &address.in6.sin6_addr), 1);
		address.in6.sin6_family = AF_INET6;
		address.in6.sin6_port = htons(port);
	}
	return address;
}

static struct datagram_route route_of(const union address *from, const union address *to)
{
	socklen_t length = from->any.sa_family == AF_INET ? sizeof(from->in) : sizeof(from->in6);

	return (struct datagram_route){
		.from = &from->any, .from_length = length, .to = to == NULL ? NULL : &to->any
	};
}

static enum drop_reason request(const union address *from, int64_t now)
{
	struct datagram_route route = route_of(from, NULL);

	return guard_request(guard, &rules, own, &route, now);
}

/* Answers one request; whether that muted the peer goes to the static. */
static bool muted;

static enum drop_reason reply(
    const union address *peer, const char *asked, const char *answer, int64_t now)
{
	struct datagram_route route = route_of(peer, NULL);

	return guard_reply(
	    guard, &rules, &route, asked, strlen(asked), answer, strlen(answer), now, &muted);
}

/* A number as the request: never the same twice. */
static enum drop_reason fresh_reply(const union address *peer, int64_t now)
{
	static int number;
	char asked[16];

	snprintf(asked, sizeof(asked), "%d", number++);
	return reply(peer, asked, "answer", now);
}

/* How many fresh requests of a thousand are answered. */
static int answered(const union address *peer, int64_t now)
{
	int count = 0;

	for (int i = 0; i < 1000; i++)
		count += fresh_reply(peer, now) == DROP_NOT;
	return count;
}

static const struct {
	const char *from;
	uint16_t port;
	const char *to;
	bool receiver, any_port;
	enum drop_reason expected;
} requests[] = {
	{ "192.0.2.1", 4242, "192.0.2.2", false, false, DROP_NOT },
	{ "192.0.2.1", 1024, "0.0.0.0", false, false, DROP_NOT },
	{ "2001:db8::1", 4242, "2001:db8::2", false, false, DROP_NOT },
	{ "127.0.0.1", 65535, NULL, false, false, DROP_NOT },
	{ "::1", 4242, "::", false, false, DROP_NOT },
	/* 1: sources */
	{ "192.0.2.1", 0, NULL, false, false, DROP_SOURCE },
	{ "2001:db8::1", 0, NULL, true, true, DROP_SOURCE },
	{ "0.0.0.0", 4242, NULL, true, true, DROP_SOURCE },
	{ "::", 4242, NULL, true, true, DROP_SOURCE },
	{ "::ffff:0.0.0.0", 4242, NULL, true, true, DROP_SOURCE },
	{ "224.0.0.1", 4242, NULL, true, true, DROP_SOURCE },
	{ "239.255.255.255", 4242, NULL, true, true, DROP_SOURCE },
	{ "::ffff:224.0.0.1", 4242, NULL, true, true, DROP_SOURCE },
	{ "ff02::1", 4242, NULL, true, true, DROP_SOURCE },
	{ "255.255.255.255", 4242, NULL, true, true, DROP_SOURCE },
	{ "::ffff:255.255.255.255", 4242, NULL, true, true, DROP_SOURCE },
	/* 1: targets */
	{ "192.0.2.1", 4242, "255.255.255.255", false, false, DROP_SOURCE },
	{ "192.0.2.1", 4242, "224.1.2.3", false, true, DROP_SOURCE },
	{ "2001:db8::1", 4242, "ff02::1", false, true, DROP_SOURCE },
	{ "::ffff:192.0.2.1", 4242, "::ffff:224.0.0.1", false, true, DROP_SOURCE },
	{ "192.0.2.1", 4242, "255.255.255.255", true, false, DROP_NOT },
	{ "192.0.2.1", 4242, "224.1.2.3", true, false, DROP_NOT },
	{ "2001:db8::1", 4242, "ff02::1", true, false, DROP_NOT },
	/* 2: our own ports, whatever the address */
	{ "192.0.2.1", 9001, NULL, false, false, DROP_OWN_PORT },
	{ "::1", 9001, NULL, false, true, DROP_OWN_PORT },
	{ "::1", 9001, NULL, true, false, DROP_NOT },
	/* 3: responders */
	{ "192.0.2.1", 1, NULL, false, false, DROP_RESPONDER },
	{ "192.0.2.1", 1023, NULL, false, false, DROP_RESPONDER },
	{ "127.0.0.1", 123, NULL, false, false, DROP_RESPONDER },
	{ "2001:db8::1", 1900, NULL, false, false, DROP_RESPONDER },
	{ "192.0.2.1", 3702, NULL, false, false, DROP_RESPONDER },
	{ "192.0.2.1", 5353, NULL, false, false, DROP_RESPONDER },
	{ "192.0.2.1", 11211, NULL, false, false, DROP_RESPONDER },
	{ "192.0.2.1", 1, NULL, false, true, DROP_NOT },
	{ "192.0.2.1", 11211, NULL, false, true, DROP_NOT },
	{ "192.0.2.1", 5353, NULL, true, false, DROP_NOT },
	/* In this order. */
	{ "192.0.2.1", 53, NULL, false, false, DROP_OWN_PORT },
	{ "224.0.0.1", 9001, NULL, false, false, DROP_SOURCE },
	{ "192.0.2.1", 123, "224.0.0.1", false, false, DROP_SOURCE },
};

START_TEST(requests_in_order)
{
	union address from = address_of(requests[_i].from, requests[_i].port);
	const char *target = requests[_i].to;
	union address to = address_of(target == NULL ? "::" : target, 9001);
	struct datagram_route route = route_of(&from, target == NULL ? NULL : &to);

	rules.receiver = requests[_i].receiver;
	rules.any_port = requests[_i].any_port;
	ck_assert_str_eq(drop_reason_name(guard_request(guard, &rules, own, &route, 0)),
	    drop_reason_name(requests[_i].expected));
}
END_TEST

START_TEST(own_ports_are_counted)
{
	own_ports_add(own, 65535);
	own_ports_add(own, 65535);
	ck_assert(own_ports_has(own, 65535));
	own_ports_remove(own, 65535);
	ck_assert(own_ports_has(own, 65535));
	own_ports_remove(own, 65535);
	ck_assert(!own_ports_has(own, 65535));
	ck_assert(own_ports_has(own, 9001));
	ck_assert(!own_ports_has(own, 0));
}
END_TEST

START_TEST(names)
{
	ck_assert_str_eq(drop_reason_name(DROP_OWN_PORT), "own_port");
	for (int i = 0; i < DROP_REASONS; i++)
		ck_assert_ptr_nonnull(drop_reason_name((enum drop_reason)i));
}
END_TEST

START_TEST(rate_and_refill)
{
	union address peer = address_of("192.0.2.1", 4242);

	rules.reply_rate = 10;
	ck_assert_int_eq(answered(&peer, 5000), 10);
	ck_assert_int_eq(fresh_reply(&peer, 5099), DROP_RATE);
	ck_assert_int_eq(fresh_reply(&peer, 5100), DROP_NOT);
	ck_assert_int_eq(fresh_reply(&peer, 5100), DROP_RATE);
	ck_assert_int_eq(answered(&peer, 5600), 5);
	/* A long rest is worth one second's replies, not more. */
	ck_assert_int_eq(answered(&peer, 1000000), 10);
}
END_TEST

START_TEST(rate_changes)
{
	union address peer = address_of("192.0.2.1", 4242);

	ck_assert_int_eq(answered(&peer, 0), 1000);
	rules.reply_rate = 500;
	ck_assert_int_eq(answered(&peer, 0), 500);
	/* What was owed under the higher rate is more than the lower one would ever forgive. */
	rules.reply_rate = 10;
	ck_assert_int_eq(answered(&peer, 50), 0);
	ck_assert_int_eq(answered(&peer, 150), 1);
	ck_assert_int_eq(answered(&peer, 250), 1);
	rules.reply_rate = 1000000000;
	ck_assert_int_eq(answered(&peer, 250), 1000);
}
END_TEST

START_TEST(rate_by_prefix)
{
	static const struct {
		const char *peer;
		uint16_t port;
		int answers;
	} steps[] = {
		{ "192.0.2.1", 4242, 10 },
		{ "192.0.2.255", 4243, 0 },
		{ "::ffff:192.0.2.7", 4242, 0 },
		{ "192.0.3.1", 4242, 10 },
		{ "::ffff:192.0.4.1", 4242, 10 },
		{ "192.0.4.1", 4242, 0 },
		{ "2001:db8:0:100::1", 4242, 10 },
		{ "2001:db8:0:1ff::1", 4242, 0 },
		{ "2001:db8:0:200::1", 4242, 10 },
		{ "2001:db8:0:000::1", 4242, 10 },
		{ "2001:db8:0:a00::1", 4242, 10 },
		/* Exempt: */
		{ "127.0.0.1", 4242, 1000 },
		{ "127.8.8.8", 4242, 1000 },
		{ "::ffff:127.0.0.1", 4242, 1000 },
		{ "::1", 4242, 1000 },
	};

	rules.reply_rate = 10;
	for (int i = 0; i < COUNT(steps); i++) {
		union address peer = address_of(steps[i].peer, steps[i].port);

		ck_assert_msg(answered(&peer, 0) == steps[i].answers, "%s", steps[i].peer);
	}
}
END_TEST

/* Sources forged to push the victim's bucket out must not buy it more replies. */
START_TEST(many_prefixes)
{
	union address victim = address_of("198.51.100.1", 4242), forged;
	int replies = 0;

	rules.reply_rate = 100;
	for (uint32_t i = 0; i < 400000; i++) {
		forged = address_of("16.0.0.0", 4242);
		forged.in.sin_addr.s_addr = htonl(0x10000000 + (i << 8));
		fresh_reply(&forged, 1000);
		replies += fresh_reply(&victim, 1000) == DROP_NOT;
	}
	ck_assert_int_eq(replies, 100);
	/* And a second later it has its own rate again. */
	ck_assert_int_eq(answered(&victim, 2000), 100);
}
END_TEST

/* Even when everybody in the set has used up as much, a way's credit is spent only once. */
START_TEST(many_prefixes_at_the_limit)
{
	int replies = 0;

	rules.reply_rate = 1;
	for (uint32_t i = 0; i < 100000; i++) {
		union address forged = address_of("16.0.0.0", 4242);

		forged.in.sin_addr.s_addr = htonl(0x10000000 + (i << 8));
		replies += fresh_reply(&forged, 1000) == DROP_NOT;
	}
	ck_assert_int_eq(replies, 4096);
}
END_TEST

static void repeat_until_muted(const union address *peer, int64_t now)
{
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(reply(peer, "ping", "pong", now + i * 49), DROP_NOT);
		ck_assert(!muted);
	}
	ck_assert_int_eq(reply(peer, "ping", "pong", now + 999), DROP_REPEAT);
	ck_assert(muted);
}

START_TEST(repeat_mutes)
{
	union address peer = address_of("127.0.0.1", 4242), other = address_of("127.0.0.1", 4243);

	ck_assert_int_eq(request(&peer, 1000), DROP_NOT);
	repeat_until_muted(&peer, 1000);
	/* All of it, and `muted` only once. */
	ck_assert_int_eq(request(&peer, 2000), DROP_REPEAT);
	ck_assert_int_eq(reply(&peer, "ping", "pong", 2000), DROP_REPEAT);
	ck_assert(!muted);
	ck_assert_int_eq(reply(&peer, "other", "answer", 2000), DROP_REPEAT);
	ck_assert(!muted);
	/* Another port is another peer. */
	ck_assert_int_eq(request(&other, 2000), DROP_NOT);
	ck_assert_int_eq(reply(&other, "ping", "pong", 2000), DROP_NOT);
	/* Muted at 1999 for 60 s. */
	ck_assert_int_eq(request(&peer, 61998), DROP_REPEAT);
	ck_assert_int_eq(request(&peer, 61999), DROP_NOT);
	repeat_until_muted(&peer, 61999);
}
END_TEST

START_TEST(slow_repeats_pass)
{
	union address peer = address_of("192.0.2.1", 4242);

	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(reply(&peer, "ping", "pong", i * 50), DROP_NOT);
}
END_TEST

START_TEST(different_payloads_pass)
{
	union address peer = address_of("192.0.2.1", 4242);
	char number[16];

	ck_assert_int_eq(answered(&peer, 0), 1000);
	for (int i = 0; i < 1000; i++) {
		snprintf(number, sizeof(number), "%d", i);
		ck_assert_int_eq(reply(&peer, "time", number, 0), DROP_NOT);
	}
	/* The border between request and reply counts. */
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(reply(&peer, "ab", "c", 0), DROP_NOT);
		ck_assert_int_eq(reply(&peer, "a", "bc", 0), DROP_NOT);
	}
	ck_assert_int_eq(request(&peer, 0), DROP_NOT);
}
END_TEST

/* A loop with two datagrams on their way alternates. */
START_TEST(alternating_repeats_mute)
{
	union address peer = address_of("192.0.2.1", 4242);

	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(reply(&peer, "a", "A", i), DROP_NOT);
		ck_assert_int_eq(reply(&peer, "b", "B", i), DROP_NOT);
	}
	ck_assert_int_eq(reply(&peer, "b", "B", 20), DROP_REPEAT);
	ck_assert(muted);
	ck_assert_int_eq(reply(&peer, "a", "A", 20), DROP_REPEAT);
	ck_assert(!muted);
}
END_TEST

START_TEST(mapped_is_the_same_peer)
{
	union address plain = address_of("192.0.2.1", 4242);
	union address mapped = address_of("::ffff:192.0.2.1", 4242);
	union address ipv6 = address_of("2001:db8::1", 4242), labelled = ipv6;

	repeat_until_muted(&plain, 0);
	ck_assert_int_eq(request(&mapped, 1000), DROP_REPEAT);
	repeat_until_muted(&ipv6, 0);
	labelled.in6.sin6_flowinfo = htonl(77);
	ck_assert_int_eq(request(&labelled, 1000), DROP_REPEAT);
}
END_TEST

/* What is over the rate was not answered and does not count as repeated. */
START_TEST(rate_comes_before_repeat)
{
	union address peer = address_of("192.0.2.1", 4242);

	rules.reply_rate = 20;
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(reply(&peer, "ping", "pong", 0), DROP_NOT);
	ck_assert_int_eq(reply(&peer, "ping", "pong", 0), DROP_RATE);
	ck_assert_int_eq(reply(&peer, "ping", "pong", 50), DROP_REPEAT);
	ck_assert(muted);
}
END_TEST

START_TEST(repeat_among_strangers)
{
	union address loop = address_of("192.0.2.1", 4242);
	enum drop_reason reason = DROP_NOT;
	int answers = 0;

	for (uint32_t i = 0; i < 100000 && reason == DROP_NOT; i++) {
		union address stranger = address_of("16.0.0.0", 4242);

		stranger.in.sin_addr.s_addr = htonl(0x10000000 + i);
		ck_assert_int_eq(reply(&stranger, "ping", "pong", i / 300), DROP_NOT);
		if (i % 300 == 0) {
			reason = reply(&loop, "ping", "pong", i / 300);
			answers += reason == DROP_NOT;
		}
	}
	ck_assert_int_eq(reason, DROP_REPEAT);
	ck_assert_int_eq(answers, 20);
}
END_TEST

START_TEST(many_mutes)
{
	union address peers[100];

	for (int i = 0; i < COUNT(peers); i++) {
		peers[i] = address_of("192.0.2.1", (uint16_t)(2000 + i));
		repeat_until_muted(&peers[i], 0);
	}
	for (int i = 0; i < COUNT(peers); i++)
		ck_assert_int_eq(request(&peers[i], 1000), DROP_REPEAT);
}
END_TEST

START_TEST(unix_peers)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "/run/a" }, other = name;
	socklen_t length = offsetof(struct sockaddr_un, sun_path) + 7;
	struct datagram_route route = { (struct sockaddr *)&name, length, NULL };
	struct datagram_route another = { (struct sockaddr *)&other, length, NULL };

	other.sun_path[5] = 'b';
	rules.reply_rate = 1; /* exempt */
	ck_assert_int_eq(guard_request(guard, &rules, own, &route, 0), DROP_NOT);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(
		    guard_reply(guard, &rules, &route, "", 0, "x", 1, 0, &muted), DROP_NOT);
	ck_assert_int_eq(guard_reply(guard, &rules, &another, "", 0, "x", 1, 0, &muted), DROP_NOT);
	ck_assert_int_eq(guard_reply(guard, &rules, &route, "", 0, "x", 1, 0, &muted), DROP_REPEAT);
	ck_assert(muted);
	ck_assert_int_eq(guard_request(guard, &rules, own, &route, 0), DROP_REPEAT);
	ck_assert_int_eq(guard_request(guard, &rules, own, &another, 0), DROP_NOT);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("guard");
	TCase *tc = tcase_create("request");
	SRunner *sr = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, requests_in_order, 0, COUNT(requests));
	tcase_add_test(tc, own_ports_are_counted);
	tcase_add_test(tc, names);
	suite_add_tcase(s, tc);

	tc = tcase_create("rate");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, rate_and_refill);
	tcase_add_test(tc, rate_changes);
	tcase_add_test(tc, rate_by_prefix);
	tcase_add_test(tc, many_prefixes);
	tcase_add_test(tc, many_prefixes_at_the_limit);
	suite_add_tcase(s, tc);

	tc = tcase_create("repeat");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, repeat_mutes);
	tcase_add_test(tc, slow_repeats_pass);
	tcase_add_test(tc, different_payloads_pass);
	tcase_add_test(tc, alternating_repeats_mute);
	tcase_add_test(tc, mapped_is_the_same_peer);
	tcase_add_test(tc, rate_comes_before_repeat);
	tcase_add_test(tc, repeat_among_strangers);
	tcase_add_test(tc, many_mutes);
	tcase_add_test(tc, unix_peers);
	suite_add_tcase(s, tc);

	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
