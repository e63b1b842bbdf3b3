/* Who counts with whom: clients of a network, and the /48 around it; and how often they come. */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/peer.h"
#include "net/rate.h"
#include "net/source.h"

static struct sources sources;
static struct rates *rates;

static void setup(void)
{
	sources = (struct sources){ .prefixes = { 32, 56 } };
	rates = rates_new();
}

static void teardown(void)
{
	sources_clear(&sources);
	free(rates);
}

static const struct peer *peer(const char *text)
{
	static struct peer peer;
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };

	if (inet_pton(AF_INET, text, &in.sin_addr) == 1) {
		peer_set(&peer, (struct sockaddr *)&in, sizeof(in));
	} else {
		ck_assert_int_eq(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
		peer_set(&peer, (struct sockaddr *)&in6, sizeof(in6));
	}
	return &peer;
}

static bool enters(const char *text, int64_t max)
{
	return source_enter(&sources, peer(text), max) == 0;
}

START_TEST(a_56_counts_as_one)
{
	ck_assert(enters("2001:db8:0:100::1", 2));
	ck_assert(enters("2001:db8:0:1ff::1", 2));
	ck_assert(!enters("2001:db8:0:1aa::1", 2));
	ck_assert_int_eq(errno, EDQUOT);
	ck_assert(enters("2001:db8:0:200::1", 2));
	source_leave(&sources, peer("2001:db8:0:1ff::1"));
	ck_assert(enters("2001:db8:0:1aa::1", 2));
}
END_TEST

START_TEST(a_48_has_four_times_as_many)
{
	struct source_count count;

	for (int i = 0; i < 8; i++) {
		char text[64];

		snprintf(text, sizeof(text), "2001:db8:1:%d00::1", i);
		ck_assert(enters(text, 2));
	}
	ck_assert(!enters("2001:db8:1:a000::1", 2));
	count = source_count(&sources, peer("2001:db8:1:a000::1"), 2);
	ck_assert(count.site);
	ck_assert_int_eq(count.now, 8);
	ck_assert_int_eq(count.max, 8);
	ck_assert(enters("2001:db8:2::1", 2));
	/* Whoever was refused by its site has left nothing behind in its network. */
	source_leave(&sources, peer("2001:db8:1:0::1"));
	ck_assert(enters("2001:db8:1:a000::1", 2));
	ck_assert_int_eq(source_count(&sources, peer("2001:db8:1:a000::1"), 2).now, 8);
}
END_TEST

START_TEST(a_short_prefix_has_no_site)
{
	sources.prefixes.ipv6 = 48;
	ck_assert(enters("2001:db8:1:1::1", 1));
	ck_assert(!enters("2001:db8:1:ff00::1", 1));
}
END_TEST

START_TEST(an_ipv4_address_counts_by_its_prefix)
{
	ck_assert(enters("192.0.2.1", 1));
	ck_assert(enters("192.0.2.2", 1));
	ck_assert(!enters("::ffff:192.0.2.1", 1));
	sources_clear(&sources);
	sources.prefixes.ipv4 = 24;
	ck_assert(enters("192.0.2.1", 1));
	ck_assert(!enters("192.0.2.2", 1));
	ck_assert(enters("192.0.3.1", 1));
}
END_TEST

/* How many of so many at that time are let through. */
static int pass(const char *text, const struct rate_limit *limit, int count, int64_t now)
{
	struct rate_charges charges;
	int passed = 0;

	rates_charges(rates, limit, &peer(text)->key, &charges);
	for (int i = 0; i < count; i++)
		if (rates_wait(rates, &charges, now) <= 0) {
			rates_pay(rates, &charges, 1, now);
			passed++;
		}
	return passed;
}

START_TEST(a_burst_then_the_rate)
{
	const struct prefixes prefixes = { 32, 56 };
	const struct rate_limit limit = { 10, 50, &prefixes };

	ck_assert_int_eq(pass("192.0.2.1", &limit, 1000, 1000), 50);
	ck_assert_int_eq(pass("192.0.2.1", &limit, 1000, 1100), 1);
	ck_assert_int_eq(pass("192.0.2.1", &limit, 1000, 2100), 10);
	ck_assert_int_eq(pass("192.0.2.2", &limit, 1000, 2100), 50);
	ck_assert_int_eq(pass("192.0.2.1", &limit, 1000, 100000), 50);
}
END_TEST

START_TEST(a_48_has_four_bursts)
{
	const struct prefixes prefixes = { 32, 56 };
	const struct rate_limit limit = { 10, 50, &prefixes };
	int passed = 0;

	for (int i = 0; i < 100; i++) {
		char text[64];

		snprintf(text, sizeof(text), "2001:db8:1:%d00::1", i);
		passed += pass(text, &limit, 100, 1000);
	}
	ck_assert_int_eq(passed, 200);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("source");
	TCase *tc = tcase_create("source");
	SRunner *sr = srunner_create(s);
	int failed;

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_test(tc, a_56_counts_as_one);
	tcase_add_test(tc, a_48_has_four_times_as_many);
	tcase_add_test(tc, a_short_prefix_has_no_site);
	tcase_add_test(tc, an_ipv4_address_counts_by_its_prefix);
	tcase_add_test(tc, a_burst_then_the_rate);
	tcase_add_test(tc, a_48_has_four_bursts);
	suite_add_tcase(s, tc);
	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
