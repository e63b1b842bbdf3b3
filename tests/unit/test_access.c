/* Networks: the texts that are right and wrong, and who is let in. */
#include <arpa/inet.h>
#include <check.h>
#include <libconfig.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "net/access.h"
#include "net/endpoint.h"
#include "net/peer.h"

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

#define NO_ADDRESS "expected an IPv4 or IPv6 address or ADDRESS/LENGTH"
#define BAD_32 "the length behind / must be a number from 0 to 32"
#define BAD_128 "the length behind / must be a number from 0 to 128"
#define MAPPED "an IPv4-mapped network has a length of 96 or more: write it as IPv4"
#define HOST_BITS "bits are set behind the prefix: write "

static const struct {
	const char *text, *prefix;
	uint8_t length;
} good[] = {
	{ "10.0.0.0/8", "::ffff:10.0.0.0", 104 },
	{ "192.0.2.1", "::ffff:192.0.2.1", 128 },
	{ "192.0.2.1/32", "::ffff:192.0.2.1", 128 },
	{ "192.0.2.128/25", "::ffff:192.0.2.128", 121 },
	{ "0.0.0.0/0", "::ffff:0.0.0.0", 96 },
	{ "::/0", "::", 0 },
	{ "::1", "::1", 128 },
	{ "::1/128", "::1", 128 },
	{ "2001:db8::/33", "2001:db8::", 33 },
	{ "::ffff:10.0.0.0/104", "::ffff:10.0.0.0", 104 },
	{ "::ffff:10.1.2.3", "::ffff:10.1.2.3", 128 },
	{ "::ffff:0:0/96", "::ffff:0.0.0.0", 96 },
	{ "::10.0.0.0/104", "::10.0.0.0", 104 },
};

static const struct {
	const char *text, *why;
} bad[] = {
	{ "", NO_ADDRESS },
	{ "/8", NO_ADDRESS },
	{ "10/8", NO_ADDRESS },
	{ "10.0.0.256", NO_ADDRESS },
	{ " 10.0.0.0/8", NO_ADDRESS },
	{ "localhost", NO_ADDRESS },
	{ "[::1]", NO_ADDRESS },
	{ "fe80::1%eth0", NO_ADDRESS },
	{ "1111:2222:3333:4444:5555:6666:7777:8888:9999:aaaa:bbbb:cccc/8", NO_ADDRESS },
	{ "10.0.0.0/", BAD_32 },
	{ "10.0.0.0/33", BAD_32 },
	{ "10.0.0.0/-1", BAD_32 },
	{ "10.0.0.0/8 ", BAD_32 },
	{ "10.0.0.0/8/8", BAD_32 },
	{ "10.0.0.0/255.0.0.0", BAD_32 },
	{ "10.0.0.0/4294967304", BAD_32 },
	{ "::/129", BAD_128 },
	{ "::/x", BAD_128 },
	{ "10.0.0.1/8", HOST_BITS "10.0.0.0/8" },
	{ "10.0.0.1/0", HOST_BITS "0.0.0.0/0" },
	{ "192.0.2.255/25", HOST_BITS "192.0.2.128/25" },
	{ "192.0.2.1/31", HOST_BITS "192.0.2.0/31" },
	{ "2001:db8::1/64", HOST_BITS "2001:db8::/64" },
	{ "::ffff:10.0.0.0/8", MAPPED },
	{ "::ffff:0:0/95", MAPPED },
	{ "::ffff:10.0.0.1/104", HOST_BITS "::ffff:10.0.0.0/104" },
};

START_TEST(good_texts)
{
	struct network network;
	struct in6_addr prefix;
	struct error error = { 0 };

	ck_assert_msg(network_parse(&network, good[_i].text, &error) == 0, "%s", error.text);
	ck_assert_int_eq(inet_pton(AF_INET6, good[_i].prefix, &prefix), 1);
	ck_assert_mem_eq(&network.prefix, &prefix, sizeof(prefix));
	ck_assert_uint_eq(network.length, good[_i].length);
	ck_assert_str_eq(network.text, good[_i].text);
	network_clear(&network);
	ck_assert_ptr_null(network.text);
}
END_TEST

START_TEST(bad_texts)
{
	struct network network;
	struct error error = { 0 };

	ck_assert_msg(network_parse(&network, bad[_i].text, &error) == -1, "%s", bad[_i].text);
	ck_assert_str_eq(error.text, bad[_i].why);
	ck_assert_ptr_null(network.text);
}
END_TEST

static struct peer peer_of(const char *text)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6 };
	struct peer peer;

	if (inet_pton(AF_INET, text, &in.sin_addr) == 1) {
		peer_set(&peer, (struct sockaddr *)&in, sizeof(in));
	} else {
		ck_assert_int_eq(inet_pton(AF_INET6, text, &in6.sin6_addr), 1);
		peer_set(&peer, (struct sockaddr *)&in6, sizeof(in6));
	}
	return peer;
}

static const struct option_row row = { .key = "allow", .type = &option_networks };

static void parse_list(struct networks *networks, const char *list)
{
	char *copy = strdup(list), *rest = copy, *text;
	struct error error;

	networks->count = 0;
	networks->items = calloc(strlen(list) + 1, sizeof(*networks->items));
	while ((text = strsep(&rest, " ")) != NULL)
		if (*text != '\0')
			ck_assert_int_eq(
			    network_parse(&networks->items[networks->count++], text, &error), 0);
	free(copy);
}

static const struct {
	const char *allow, *deny, *peer;
	bool allowed;
} rules[] = {
	/* Empty lists let everybody in; deny alone only keeps out. */
	{ "", "", "192.0.2.1", true },
	{ "", "", "::1", true },
	{ "", "10.0.0.0/8", "10.255.255.255", false },
	{ "", "10.0.0.0/8", "11.0.0.0", true },
	/* With allow, who matches nothing stays out. */
	{ "10.0.0.0/8", "", "10.0.0.1", true },
	{ "10.0.0.0/8", "", "9.255.255.255", false },
	{ "10.0.0.0/8", "", "::1", false },
	{ "10.0.0.0/8", "192.0.2.0/24", "192.0.3.1", false },
	/* The longest prefix wins over both lists together, in any order. */
	{ "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3", false },
	{ "10.0.0.0/8", "10.1.0.0/16", "10.2.2.3", true },
	{ "10.1.2.0/24", "10.1.0.0/16", "10.1.2.3", true },
	{ "10.1.2.0/24", "10.1.0.0/16", "10.1.3.3", false },
	{ "10.0.0.0/8 10.1.2.0/24", "10.1.0.0/16", "10.1.2.3", true },
	{ "10.1.2.0/24 10.0.0.0/8", "10.1.2.3 10.1.0.0/16", "10.1.2.3", false },
	{ "10.1.2.3", "0.0.0.0/0", "10.1.2.3", true },
	/* Deny wins a tie. */
	{ "10.0.0.0/8", "10.0.0.0/8", "10.0.0.1", false },
	{ "::/0", "::/0", "2001:db8::1", false },
	{ "0.0.0.0/0", "0.0.0.0/0", "192.0.2.1", false },
	/* Lengths that are not whole bytes. */
	{ "192.0.2.128/25", "", "192.0.2.128", true },
	{ "192.0.2.128/25", "", "192.0.2.127", false },
	{ "192.0.2.0/31", "", "192.0.2.1", true },
	{ "192.0.2.0/31", "", "192.0.2.2", false },
	{ "2001:db8:8000::/33", "", "2001:db8:ffff::1", true },
	{ "2001:db8:8000::/33", "", "2001:db8:7fff::1", false },
	{ "8000::/1", "", "ffff::", true },
	{ "8000::/1", "", "7fff::", false },
	/* IPv4-mapped IPv6 is IPv4, in rules and in peers. */
	{ "10.0.0.0/8", "", "::ffff:10.0.0.1", true },
	{ "", "10.0.0.0/8", "::ffff:10.0.0.1", false },
	{ "::ffff:10.0.0.0/104", "", "10.0.0.1", true },
	{ "::ffff:0.0.0.0/96", "", "192.0.2.1", true },
	{ "::ffff:192.0.2.1", "", "192.0.2.1", true },
	{ "::ffff:0:0/96", "192.0.2.1", "192.0.2.1", false },
	{ "::ffff:0:0/96", "", "::1", false },
	/* What only looks like it to a person is not. */
	{ "127.0.0.1", "", "::127.0.0.1", false },
	{ "127.0.0.1", "", "64:ff9b::127.0.0.1", false },
	{ "127.0.0.1", "", "2002:7f00:1::", false },
	{ "::127.0.0.1", "", "127.0.0.1", false },
	{ "64:ff9b::/96", "", "64:ff9b::127.0.0.1", true },
	/* The families stay apart. */
	{ "::/0", "", "192.0.2.1", false },
	{ "::/0", "", "::ffff:192.0.2.1", false },
	{ "::/64", "", "192.0.2.1", false },
	{ "::/0", "", "2001:db8::1", true },
	{ "::/0", "", "::", true },
	{ "0.0.0.0/0", "", "192.0.2.1", true },
	{ "0.0.0.0/0", "", "2001:db8::1", false },
	{ "0.0.0.0/0", "", "::", false },
	{ "", "::/0", "192.0.2.1", true },
	{ "", "0.0.0.0/0", "::1", true },
};

START_TEST(who_may_come)
{
	struct peer peer = peer_of(rules[_i].peer);
	struct networks allow, deny;

	parse_list(&allow, rules[_i].allow);
	parse_list(&deny, rules[_i].deny);
	ck_assert_int_eq(access_allows(&allow, &deny, &peer), rules[_i].allowed);
	option_networks.clear(&row, &allow);
	option_networks.clear(&row, &deny);
}
END_TEST

START_TEST(not_ip)
{
	struct sockaddr local = { .sa_family = AF_UNIX };
	struct networks allow, deny;
	struct in6_addr key;
	struct peer peer;

	parse_list(&allow, "10.0.0.0/8");
	parse_list(&deny, "0.0.0.0/0 ::/0");
	peer_set(&peer, &local, sizeof(local.sa_family));
	ck_assert(access_allows(&allow, &deny, &peer));
	ck_assert(!sockaddr_key(&local, &key));
	peer.family = AF_UNSPEC;
	ck_assert(!access_allows(&allow, &deny, &peer));
	option_networks.clear(&row, &allow);
	option_networks.clear(&row, &deny);
}
END_TEST

static int parse_option(const char *text, struct networks *to, struct error *error)
{
	config_t config;
	int result;

	config_init(&config);
	ck_assert_int_eq(config_read_string(&config, text), CONFIG_TRUE);
	memset(to, 0, sizeof(*to));
	result = option_networks.parse(&row, config_lookup(&config, "allow"), to, error);
	config_destroy(&config);
	return result;
}

START_TEST(option)
{
	struct networks networks;
	struct error error = { 0 };
	char *printed;
	size_t size;
	FILE *out = open_memstream(&printed, &size);

	ck_assert_int_eq(
	    parse_option("allow = [ \"10.0.0.0/8\", \"::1\" ];", &networks, &error), 0);
	option_networks.print(&row, &networks, out);
	option_networks.clear(&row, &networks);
	ck_assert_uint_eq(networks.count, 0);
	ck_assert_int_eq(parse_option("allow = \"::1\";", &networks, &error), 0);
	option_networks.print(&row, &networks, out);
	option_networks.clear(&row, &networks);
	fclose(out);
	ck_assert_str_eq(printed, "[ \"10.0.0.0/8\", \"::1\" ][ \"::1\" ]");
	free(printed);
	ck_assert_int_eq(
	    parse_option("allow = [ \"::1\", \"10.0.0.1/8\" ];", &networks, &error), -1);
	ck_assert_str_eq(error.text, "\"10.0.0.1/8\": " HOST_BITS "10.0.0.0/8");
	ck_assert_ptr_null(networks.items);
}
END_TEST

/* Which rules have their say, by their lines; 0 = none. */
static const struct {
	const char *peer;
	bool allowed;
	int allow, deny;
} decisions[] = {
	{ "10.0.0.1", true, 1, 0 },
	{ "10.1.0.1", false, 1, 4 },
	{ "10.1.1.1", true, 2, 4 },
	{ "192.0.2.1", false, 3, 5 },
	{ "9.9.9.9", false, 0, 0 },
	{ "::1", false, 0, 6 },
};

static int line_of(const struct network *rule)
{
	return rule == NULL ? 0 : rule->line;
}

START_TEST(which_rule_decides)
{
	static struct networks allow, deny;
	const struct peer peer = peer_of(decisions[_i].peer);
	struct access_decision decision;
	struct error error;

	ck_assert_int_eq(parse_option("allow = [ \"10.0.0.0/8\",\n\"10.1.1.0/24\",\n"
				      "\"192.0.2.0/24\" ];",
			     &allow, &error),
	    0);
	ck_assert_int_eq(parse_option("allow =\n[\n\n\"10.1.0.0/16\",\n\"192.0.2.0/24\",\n"
				      "\"::/0\" ];",
			     &deny, &error),
	    0);
	decision = access_decide(&allow, &deny, &peer);
	ck_assert(decision.allowed == decisions[_i].allowed);
	ck_assert_int_eq(line_of(decision.allow), decisions[_i].allow);
	ck_assert_int_eq(line_of(decision.deny), decisions[_i].deny);
	ck_assert(access_allows(&allow, &deny, &peer) == decision.allowed);
	option_networks.clear(&row, &allow);
	option_networks.clear(&row, &deny);
}
END_TEST

static const struct option_row prefixes_row = { .key = "reply_prefix", .type = &option_prefixes };

static int parse_lengths(const char *value, struct prefixes *to, struct error *error)
{
	char text[128];
	config_t config;
	int result;

	snprintf(text, sizeof(text), "reply_prefix = %s;", value);
	config_init(&config);
	ck_assert_int_eq(config_read_string(&config, text), CONFIG_TRUE);
	result =
	    option_prefixes.parse(&prefixes_row, config_lookup(&config, "reply_prefix"), to, error);
	config_destroy(&config);
	return result;
}

START_TEST(good_prefixes)
{
	static const struct {
		const char *text, *printed;
		uint8_t ipv4, ipv6;
	} good_lengths[] = {
		{ "\"24/56\"", "\"24/56\"", 24, 56 },
		{ "\"1/1\"", "\"1/1\"", 1, 1 },
		{ "\"32/128\"", "\"32/128\"", 32, 128 },
		{ "\"08/064\"", "\"8/64\"", 8, 64 },
	};

	for (int i = 0; i < COUNT(good_lengths); i++) {
		struct error error = { 0 };
		char *printed;
		struct prefixes prefixes;
		size_t size;
		FILE *out = open_memstream(&printed, &size);

		ck_assert_msg(
		    parse_lengths(good_lengths[i].text, &prefixes, &error) == 0, "%s", error.text);
		ck_assert_uint_eq(prefixes.ipv4, good_lengths[i].ipv4);
		ck_assert_uint_eq(prefixes.ipv6, good_lengths[i].ipv6);
		option_prefixes.print(&prefixes_row, &prefixes, out);
		fclose(out);
		ck_assert_str_eq(printed, good_lengths[i].printed);
		free(printed);
	}
}
END_TEST

START_TEST(bad_prefixes)
{
	static const char *const bad_lengths[] = { "\"\"", "\"24\"", "\"24/\"", "\"/56\"",
		"\"24/56/\"", "\"24/56/8\"", "\"24 / 56\"", "\"0/56\"", "\"24/0\"", "\"33/56\"",
		"\"24/129\"", "\"-1/56\"", "\"4294967320/56\"", "\"/24/56\"", "24", "24.56", "true",
		"[ 24, 56 ]" };
	static const char expected[] = "expected the prefix lengths of IPv4 (1 to 32) and IPv6 "
				       "(1 to 128), such as \"24/56\", got ";

	for (int i = 0; i < COUNT(bad_lengths); i++) {
		struct prefixes prefixes;
		struct error error = { 0 };

		ck_assert_msg(
		    parse_lengths(bad_lengths[i], &prefixes, &error) == -1, "%s", bad_lengths[i]);
		ck_assert_mem_eq(error.text, expected, strlen(expected));
	}
}
END_TEST

static const struct {
	const char *address;
	uint8_t ipv4, ipv6;
	const char *masked;
} masks[] = {
	{ "192.0.2.200", 24, 56, "::ffff:192.0.2.0" },
	{ "192.0.2.200", 32, 1, "::ffff:192.0.2.200" },
	{ "192.0.2.200", 1, 128, "::ffff:128.0.0.0" },
	{ "192.0.2.200", 26, 128, "::ffff:192.0.2.192" },
	{ "::ffff:192.0.2.200", 24, 8, "::ffff:192.0.2.0" },
	{ "2001:db8:1:2ff::1", 24, 56, "2001:db8:1:200::" },
	{ "2001:db8:1:2ff::1", 24, 48, "2001:db8:1::" },
	{ "2001:db8:1:2ff::1", 24, 64, "2001:db8:1:2ff::" },
	{ "2001:db8:1:2ff:8000::1", 24, 65, "2001:db8:1:2ff:8000::" },
	{ "2001:db8:1:2ff::1", 24, 128, "2001:db8:1:2ff::1" },
	{ "ffff::1", 24, 1, "8000::" },
};

START_TEST(mask)
{
	const struct prefixes prefixes = { masks[_i].ipv4, masks[_i].ipv6 };
	struct in6_addr key = peer_of(masks[_i].address).key, masked;

	prefixes_mask(&prefixes, &key);
	ck_assert_int_eq(inet_pton(AF_INET6, masks[_i].masked, &masked), 1);
	ck_assert_mem_eq(&key, &masked, sizeof(key));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("access");
	TCase *tc = tcase_create("access");
	SRunner *sr = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, good_texts, 0, COUNT(good));
	tcase_add_loop_test(tc, bad_texts, 0, COUNT(bad));
	tcase_add_loop_test(tc, who_may_come, 0, COUNT(rules));
	tcase_add_test(tc, not_ip);
	tcase_add_test(tc, option);
	tcase_add_loop_test(tc, which_rule_decides, 0, COUNT(decisions));
	tcase_add_test(tc, good_prefixes);
	tcase_add_test(tc, bad_prefixes);
	tcase_add_loop_test(tc, mask, 0, COUNT(masks));
	suite_add_tcase(s, tc);

	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
