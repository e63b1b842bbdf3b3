/* The datagram guards, with a clock of the test's own. */
#include <arpa/inet.h>
#include <check.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "net/endpoint.h"
#include "net/guard.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

union any_address {
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
	rules = (struct guard_rules){ .reply_prefix = { 24, 56 } };
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

static union any_address address_of(const char *text, uint16_t port)
{
	union any_address address = { 0 };

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

static struct peer peer_of(const union any_address *address)
{
	struct peer peer;

	peer_set(&peer, &address->any, sizeof(*address));
	return peer;
}

/* Valid until the next one. */
static struct datagram_route route_of(const union any_address *from, const union any_address *to)
{
	static struct peer peer;
	static struct in6_addr target;

	peer = peer_of(from);
	if (to != NULL)
		ck_assert(sockaddr_key(&to->any, &target));
	return (struct datagram_route){ .from = &peer, .to = to == NULL ? NULL : &target };
}

/* Answers one request; whether that muted the exchange goes to the static. */
static bool muted;

static enum drop_reason reply(
    const union any_address *peer, const char *asked, const char *answer, int64_t now)
{
	struct datagram_route route = route_of(peer, NULL);

	return guard_reply(
	    guard, &rules, &route, asked, strlen(asked), answer, strlen(answer), now, &muted);
}

/* A number as the request: never the same twice. */
static enum drop_reason fresh_reply(const union any_address *peer, int64_t now)
{
	static int number;
	char asked[16];

	snprintf(asked, sizeof(asked), "%d", number++);
	return reply(peer, asked, "answer", now);
}

/* How many fresh requests of a thousand are answered. */
static int answered(const union any_address *peer, int64_t now)
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
	/* 1: an IPv4 source that has not come over IPv4 */
	{ "::ffff:127.0.0.1", 4242, "::ffff:192.0.2.1", false, false, DROP_NOT },
	{ "::ffff:127.0.0.1", 4242, "127.0.0.1", false, false, DROP_NOT },
	{ "::ffff:127.0.0.1", 4242, "fd00::1", false, false, DROP_SOURCE },
	{ "::ffff:127.0.0.1", 4242, "::1", true, true, DROP_SOURCE },
	{ "::ffff:192.0.2.1", 4242, "ff02::1", true, true, DROP_SOURCE },
	{ "::ffff:192.0.2.1", 4242, "::", true, true, DROP_SOURCE },
	/* What only looks like IPv4 to a person is IPv6. */
	{ "::127.0.0.1", 4242, "fd00::1", false, false, DROP_NOT },
	{ "64:ff9b::7f00:1", 4242, "fd00::1", false, false, DROP_NOT },
	{ "2002:7f00:1::1", 4242, "fd00::1", false, false, DROP_NOT },
	{ "192.0.2.1", 4242, "::ffff:192.0.2.2", false, false, DROP_NOT },
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
	union any_address from = address_of(requests[_i].from, requests[_i].port);
	const char *target = requests[_i].to;
	union any_address to = address_of(target == NULL ? "::" : target, 9001);
	struct datagram_route route = route_of(&from, target == NULL ? NULL : &to);

	rules.receiver = requests[_i].receiver;
	rules.any_port = requests[_i].any_port;
	ck_assert_str_eq(drop_reason_name(guard_request(&rules, own, &route)),
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
	union any_address peer = address_of("192.0.2.1", 4242);

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
	union any_address peer = address_of("192.0.2.1", 4242);

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
		/* A site of many prefixes has four rates. */
		{ "2001:db8:0:b00::1", 4242, 0 },
		{ "2001:db8:1:b00::1", 4242, 10 },
		/* Not the loopback's: */
		{ "::127.0.0.1", 4242, 10 },
		{ "::127.0.0.2", 4242, 0 },
		{ "64:ff9b::7f00:1", 4242, 10 },
		/* Exempt: */
		{ "127.0.0.1", 4242, 1000 },
		{ "127.8.8.8", 4242, 1000 },
		{ "::ffff:127.0.0.1", 4242, 1000 },
		{ "::1", 4242, 1000 },
	};

	rules.reply_rate = 10;
	for (int i = 0; i < COUNT(steps); i++) {
		union any_address peer = address_of(steps[i].peer, steps[i].port);

		ck_assert_msg(answered(&peer, 0) == steps[i].answers, "%s", steps[i].peer);
	}
}
END_TEST

/* Sources forged to push the victim's bucket out must not buy it more replies. */
START_TEST(many_prefixes)
{
	union any_address victim = address_of("198.51.100.1", 4242), forged;
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
		union any_address forged = address_of("16.0.0.0", 4242);

		forged.in.sin_addr.s_addr = htonl(0x10000000 + (i << 8));
		replies += fresh_reply(&forged, 1000) == DROP_NOT;
	}
	ck_assert_int_eq(replies, 4096);
}
END_TEST

START_TEST(prefix_lengths)
{
	union any_address hosts[] = { address_of("192.0.2.1", 4242), address_of("192.0.2.2", 4242),
		address_of("2001:db8:1:1::1", 4242), address_of("2001:db8:1:2::1", 4242),
		address_of("2001:db8:2::1", 4242) };
	static const struct {
		struct prefixes prefix;
		int answers[5];
	} cases[] = {
		{ { 24, 56 }, { 10, 0, 10, 0, 10 } },
		{ { 32, 64 }, { 10, 10, 10, 10, 10 } },
		{ { 31, 48 }, { 10, 10, 10, 0, 10 } },
		{ { 8, 32 }, { 10, 0, 10, 0, 0 } },
	};

	rules.reply_rate = 10;
	for (int i = 0; i < COUNT(cases); i++) {
		rules.reply_prefix = cases[i].prefix;
		for (int j = 0; j < COUNT(hosts); j++)
			ck_assert_int_eq(answered(&hosts[j], i * 10000), cases[i].answers[j]);
	}
}
END_TEST

/* The answers to all /56 of a /48 together; whatever that site rotates over. */
START_TEST(rate_of_a_site)
{
	int answers = 0;

	rules.reply_rate = 100;
	for (int i = 0; i < 256; i++) {
		union any_address peer = address_of("2001:db8:1::1", 4242);

		peer.in6.sin6_addr.s6_addr[6] = (uint8_t)i;
		for (int j = 0; j < 10; j++)
			answers += fresh_reply(&peer, 1000) == DROP_NOT;
	}
	ck_assert_int_eq(answers, 400);
}
END_TEST

/* What large answers make of the rate: a packet each, whatever they are cut into. */
START_TEST(rate_of_large_answers)
{
	static const char large[65507];
	static const struct {
		size_t length;
		int answers;
	} cases[] = { { 0, 100 }, { 1472, 100 }, { 1473, 50 }, { 14720, 10 }, { 65507, 3 } };

	rules.reply_rate = 100;
	for (int i = 0; i < COUNT(cases); i++) {
		union any_address peer = address_of("192.0.2.1", 4242);
		struct datagram_route route = route_of(&peer, NULL);
		int answers = 0;

		for (int number = 0; number < 1000; number++)
			answers += guard_reply(guard, &rules, &route, &number, sizeof(number),
				       large, cases[i].length, i * 10000, &muted) == DROP_NOT;
		ck_assert_int_eq(answers, cases[i].answers);
	}
}
END_TEST

/* One that is larger than the rate is answered all the same, and paid for afterwards. */
START_TEST(large_answer_at_a_low_rate)
{
	static const char large[65507];
	union any_address peer = address_of("192.0.2.1", 4242);
	struct datagram_route route = route_of(&peer, NULL);

	rules.reply_rate = 1;
	ck_assert_int_eq(guard_rate_wait(guard, &rules, route.from, 0), 0);
	ck_assert_int_eq(
	    guard_reply(guard, &rules, &route, "", 0, large, sizeof(large), 0, &muted), DROP_NOT);
	ck_assert_int_eq(guard_rate_wait(guard, &rules, route.from, 0), 45000);
	ck_assert_int_eq(fresh_reply(&peer, 44999), DROP_RATE);
	ck_assert_int_eq(guard_rate_wait(guard, &rules, route.from, 44999), 1);
	ck_assert_int_eq(fresh_reply(&peer, 45000), DROP_NOT);
	rules.reply_rate = 0;
	ck_assert_int_eq(guard_rate_wait(guard, &rules, route.from, 45000), -1);
}
END_TEST

static void repeat_until_muted(const union any_address *peer, int64_t now)
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
	union any_address peer = address_of("127.0.0.1", 4242),
			  other = address_of("127.0.0.1", 4243);

	repeat_until_muted(&peer, 1000);
	/* `muted` only once. */
	ck_assert_int_eq(reply(&peer, "ping", "pong", 2000), DROP_REPEAT);
	ck_assert(!muted);
	/* Nothing but the exchange: another request, another answer, another port. */
	ck_assert_int_eq(reply(&peer, "other", "pong", 2000), DROP_NOT);
	ck_assert_int_eq(reply(&peer, "ping", "other", 2000), DROP_NOT);
	ck_assert_int_eq(reply(&other, "ping", "pong", 2000), DROP_NOT);
	/* Muted at 1999 for 60 s. */
	ck_assert_int_eq(reply(&peer, "ping", "pong", 61998), DROP_REPEAT);
	ck_assert_int_eq(reply(&peer, "ping", "pong", 61999), DROP_NOT);
	repeat_until_muted(&peer, 70000 + 60000);
}
END_TEST

/* A probe a second is no loop, however long it goes on, and not quite as regular as it should be. */
START_TEST(slow_repeats_pass)
{
	union any_address peer = address_of("192.0.2.1", 4242);

	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(reply(&peer, "ping", "pong", i * 1000 + i % 7 * 100), DROP_NOT);
}
END_TEST

/* The way of a loop, in ms, and when it is over at the latest. */
static const struct {
	int64_t delay, end;
} loops[] = { { 1, 1000 }, { 49, 1000 }, { 50, 3000 }, { 83, 4000 }, { 300, 14000 },
	{ 650, 30000 } };

START_TEST(slow_loops_mute)
{
	union any_address peer = address_of("192.0.2.1", 4242);
	int64_t now = 5000;

	while (reply(&peer, "ping", "ping", now) == DROP_NOT && now < 100000)
		now += loops[_i].delay;
	ck_assert(muted);
	ck_assert_int_le(now - 5000, loops[_i].end);
}
END_TEST

/* Many of them, each with bytes of its own, none of which comes back at once. */
START_TEST(many_slow_loops_mute)
{
	union any_address peer = address_of("192.0.2.1", 4242);
	int answers = 0;
	char asked[16];

	for (int round = 0; round < 120; round++)
		for (int i = 0; i < 1000; i++) {
			snprintf(asked, sizeof(asked), "%d", i);
			answers += reply(&peer, asked, asked, round * 83) == DROP_NOT;
		}
	/* Some sets are asked for more than they hold: there some have to wait until others are muted. */
	ck_assert_int_le(answers, 1000 * 50);
}
END_TEST

START_TEST(different_payloads_pass)
{
	union any_address peer = address_of("192.0.2.1", 4242);
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
}
END_TEST

/* A loop with two datagrams on their way alternates. */
START_TEST(alternating_repeats_mute)
{
	union any_address peer = address_of("192.0.2.1", 4242);

	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(reply(&peer, "a", "A", i), DROP_NOT);
		ck_assert_int_eq(reply(&peer, "b", "B", i), DROP_NOT);
	}
	ck_assert_int_eq(reply(&peer, "b", "B", 20), DROP_REPEAT);
	ck_assert(muted);
	ck_assert_int_eq(reply(&peer, "a", "A", 20), DROP_REPEAT);
	ck_assert(muted);
}
END_TEST

START_TEST(mapped_is_the_same_peer)
{
	union any_address plain = address_of("192.0.2.1", 4242);
	union any_address mapped = address_of("::ffff:192.0.2.1", 4242);
	union any_address ipv6 = address_of("2001:db8::1", 4242), labelled = ipv6;

	repeat_until_muted(&plain, 0);
	ck_assert_int_eq(reply(&mapped, "ping", "pong", 1000), DROP_REPEAT);
	repeat_until_muted(&ipv6, 0);
	labelled.in6.sin6_flowinfo = htonl(77);
	ck_assert_int_eq(reply(&labelled, "ping", "pong", 1000), DROP_REPEAT);
}
END_TEST

/* What is over the rate was not answered and does not count as repeated. */
START_TEST(rate_comes_before_repeat)
{
	union any_address peer = address_of("192.0.2.1", 4242);

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
	union any_address loop = address_of("192.0.2.1", 4242);
	enum drop_reason reason = DROP_NOT;
	int answers = 0;

	for (uint32_t i = 0; i < 100000 && reason == DROP_NOT; i++) {
		union any_address stranger = address_of("16.0.0.0", 4242);

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
	union any_address peers[100];

	for (int i = 0; i < COUNT(peers); i++) {
		peers[i] = address_of("192.0.2.1", (uint16_t)(2000 + i));
		repeat_until_muted(&peers[i], 0);
	}
	for (int i = 0; i < COUNT(peers); i++)
		ck_assert_int_eq(reply(&peers[i], "ping", "pong", 1000), DROP_REPEAT);
}
END_TEST

/* Neither strangers who come once, nor a crowd that repeats itself a little, let a muted one in again. */
START_TEST(muted_among_strangers)
{
	union any_address peer = address_of("192.0.2.1", 4242);

	repeat_until_muted(&peer, 0);
	for (uint32_t i = 0; i < 100000; i++) {
		union any_address stranger = address_of("16.0.0.0", 4242);

		stranger.in.sin_addr.s_addr = htonl(0x10000000 + i / 4);
		ck_assert_int_eq(reply(&stranger, "ping", "pong", 1000 + i / 10), DROP_NOT);
	}
	ck_assert_int_eq(reply(&peer, "ping", "pong", 15000), DROP_REPEAT);
	ck_assert(!muted);
}
END_TEST

static size_t count_muted(const union any_address *peer, int64_t now)
{
	const struct peer wanted = peer_of(peer);
	struct muted_exchange found[2];

	return guard_muted(guard, &wanted, now, found, COUNT(found));
}

START_TEST(what_is_muted)
{
	union any_address peer = address_of("192.0.2.1", 4242), any_port = peer;
	union any_address mapped = address_of("::ffff:192.0.2.1", 4242);
	union any_address other = address_of("192.0.2.1", 4243), stranger = address_of("::1", 4242);
	char asked[100];
	struct muted_exchange found[2];

	any_port.in.sin_port = 0;
	ck_assert_uint_eq(count_muted(&any_port, 0), 0);
	repeat_until_muted(&peer, 0);
	ck_assert_uint_eq(guard_muted(guard, route_of(&mapped, NULL).from, 1000, found, 2), 1);
	ck_assert_int_eq(found[0].until, 60999);
	ck_assert_uint_eq(found[0].peer.port, 4242);
	ck_assert_uint_eq(found[0].length, 4);
	ck_assert_mem_eq(found[0].request, "ping", 4);
	ck_assert_uint_eq(count_muted(&other, 1000), 0);
	ck_assert_uint_eq(count_muted(&stranger, 1000), 0);
	memset(asked, 'x', sizeof(asked));
	for (int i = 0; i < 3; i++) {
		struct datagram_route route = route_of(&other, NULL);

		asked[99] = (char)i;
		for (int j = 0; j < 21; j++)
			guard_reply(
			    guard, &rules, &route, asked, sizeof(asked), "", 0, 2000, &muted);
	}
	ck_assert_uint_eq(guard_muted(guard, route_of(&other, NULL).from, 2000, found, 2), 3);
	ck_assert_uint_eq(found[1].length, 100);
	ck_assert_mem_eq(found[1].request, asked, sizeof(found[1].request));
	ck_assert_uint_eq(count_muted(&any_port, 2000), 4);
	ck_assert_uint_eq(count_muted(&any_port, 60999), 3);
	ck_assert_uint_eq(count_muted(&any_port, 62000), 0);
}
END_TEST

START_TEST(unix_peers)
{
	const struct peer local = { .family = AF_UNIX };
	struct sockaddr_un name = { .sun_family = AF_UNIX, .sun_path = "/run/a" }, other = name;
	socklen_t length = offsetof(struct sockaddr_un, sun_path) + 7;
	struct datagram_route route = {
		.from = &local, .name = (struct sockaddr *)&name, .name_length = length
	};
	struct datagram_route another = {
		.from = &local, .name = (struct sockaddr *)&other, .name_length = length
	};

	other.sun_path[5] = 'b';
	rules.reply_rate = 1; /* exempt */
	ck_assert_int_eq(guard_request(&rules, own, &route), DROP_NOT);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(
		    guard_reply(guard, &rules, &route, "", 0, "x", 1, 0, &muted), DROP_NOT);
	ck_assert_int_eq(guard_reply(guard, &rules, &another, "", 0, "x", 1, 0, &muted), DROP_NOT);
	ck_assert_int_eq(guard_reply(guard, &rules, &route, "", 0, "x", 1, 0, &muted), DROP_REPEAT);
	ck_assert(muted);
	ck_assert_int_eq(guard_reply(guard, &rules, &route, "", 0, "y", 1, 0, &muted), DROP_NOT);
	ck_assert_int_eq(guard_reply(guard, &rules, &another, "", 0, "x", 1, 0, &muted), DROP_NOT);
	ck_assert_uint_eq(guard_muted(guard, route.from, 0, NULL, 0), 1);
	ck_assert_int_eq(guard_rate_wait(guard, &rules, route.from, 0), -1);
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
	tcase_add_test(tc, prefix_lengths);
	tcase_add_test(tc, rate_of_a_site);
	tcase_add_test(tc, rate_of_large_answers);
	tcase_add_test(tc, large_answer_at_a_low_rate);
	suite_add_tcase(s, tc);

	tc = tcase_create("repeat");
	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, repeat_mutes);
	tcase_add_test(tc, slow_repeats_pass);
	tcase_add_loop_test(tc, slow_loops_mute, 0, COUNT(loops));
	tcase_add_test(tc, many_slow_loops_mute);
	tcase_add_test(tc, different_payloads_pass);
	tcase_add_test(tc, alternating_repeats_mute);
	tcase_add_test(tc, mapped_is_the_same_peer);
	tcase_add_test(tc, rate_comes_before_repeat);
	tcase_add_test(tc, repeat_among_strangers);
	tcase_add_test(tc, many_mutes);
	tcase_add_test(tc, muted_among_strangers);
	tcase_add_test(tc, what_is_muted);
	tcase_add_test(tc, unix_peers);
	suite_add_tcase(s, tc);

	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
