/* Addresses: the texts that are right and wrong, resolution, formatting, the option type. */
#include <arpa/inet.h>
#include <check.h>
#include <dlfcn.h>
#include <libconfig.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "net/endpoint.h"

#define X10 "xxxxxxxxxx"
#define X50 X10 X10 X10 X10 X10
#define X63 X50 X10 "xxx"
#define X106 X50 X50 "xxxxxx"
#define X107 X106 "x"
#define NAME253 X63 "." X63 "." X63 "." X50 X10 "x"

#define BRACKETS "an IPv6 address needs brackets: [::1]"
#define NOT_IPV6 "expected an IPv6 address in the brackets"
#define NO_HOST "the host is missing: write an address, a name or *"
#define NO_TCP_PORT "the port is missing: write tcp://HOST:PORT"
#define BAD_PORT "the port must be a number from 0 to 65535 with nothing behind it"
#define BAD_NAME "a host name consists of letters, digits, hyphens and dots"
#define HYPHEN "a label of a host name neither begins nor ends with a hyphen"
#define EMPTY_LABEL "the host name has an empty label between its dots"
#define NOT_IPV4 "an IPv4 address has four numbers from 0 to 255"
#define ZONE "only a link-local address has a zone behind %: [fe80::1%eth0]"
#define BAD_ZONE "the zone behind % must be the name of an interface: [fe80::1%eth0]"
#define NO_SCHEME                                                                               \
	"the scheme is missing: write tcp://, tls://, udp://, unix://, unixgram://, redis://, " \
	"rediss:// or redis+unix:// first"
#define LOGIN "a user and a password do not belong here: write redis://HOST:PORT"
#define DATABASE "a database number does not belong here: write redis://HOST:PORT"
#define UNKNOWN \
	"unknown scheme: expected tcp, tls, udp, unix, unixgram, redis, rediss or redis+unix"

static const struct {
	const char *text;
	enum transport transport;
	const char *host;
	uint16_t port;
	const char *path;
} good[] = {
	{ "tcp://127.0.0.1:5566", TRANSPORT_TCP, "127.0.0.1", 5566, NULL },
	{ "udp://0.0.0.0:0", TRANSPORT_UDP, "0.0.0.0", 0, NULL },
	{ "tcp://[::1]:65535", TRANSPORT_TCP, "::1", 65535, NULL },
	{ "tcp://[::ffff:127.0.0.1]:1", TRANSPORT_TCP, "::ffff:127.0.0.1", 1, NULL },
	{ "udp://[fe80::1%eth0]:53", TRANSPORT_UDP, "fe80::1%eth0", 53, NULL },
	{ "udp://[ff02::1%2]:53", TRANSPORT_UDP, "ff02::1%2", 53, NULL },
	{ "tcp://*:80", TRANSPORT_TCP, NULL, 80, NULL },
	{ "tcp://localhost:80", TRANSPORT_TCP, "localhost", 80, NULL },
	{ "tcp://3com.example.:00080", TRANSPORT_TCP, "3com.example.", 80, NULL },
	{ "tcp://a_b-c.x2:80", TRANSPORT_TCP, "a_b-c.x2", 80, NULL },
	{ "tcp://" NAME253 ":80", TRANSPORT_TCP, NAME253, 80, NULL },
	{ "redis://127.0.0.1:6379", TRANSPORT_TCP, "127.0.0.1", 6379, NULL },
	{ "rediss://127.0.0.1:6379", TRANSPORT_TCP, "127.0.0.1", 6379, NULL },
	{ "tls://[::1]:9002", TRANSPORT_TCP, "::1", 9002, NULL },
	{ "redis+unix:///run/kv.sock", TRANSPORT_UNIX, NULL, 0, "/run/kv.sock" },
	{ "redis+unix://@kv", TRANSPORT_UNIX, NULL, 0, "@kv" },
	{ "unix:///run/echo.sock", TRANSPORT_UNIX, NULL, 0, "/run/echo.sock" },
	{ "unix:///a b:c\"", TRANSPORT_UNIX, NULL, 0, "/a b:c\"" },
	{ "unix:///" X106, TRANSPORT_UNIX, NULL, 0, "/" X106 },
	{ "unixgram:///run/echo.dgram", TRANSPORT_UNIXGRAM, NULL, 0, "/run/echo.dgram" },
	{ "unix://@echo", TRANSPORT_UNIX, NULL, 0, "@echo" },
	{ "unixgram://@" X107, TRANSPORT_UNIXGRAM, NULL, 0, "@" X107 },
};

static const struct {
	const char *text, *why;
} bad[] = {
	{ "", NO_SCHEME },
	{ "127.0.0.1:80", NO_SCHEME },
	{ "tcp:127.0.0.1:80", NO_SCHEME },
	{ "/run/echo.sock", NO_SCHEME },
	{ "sctp://127.0.0.1:80", UNKNOWN },
	{ "TCP://127.0.0.1:80", UNKNOWN },
	{ " tcp://127.0.0.1:80", UNKNOWN },
	{ "tcp6://[::1]:80", UNKNOWN },
	{ "redis+unix://", "the path is missing: write redis+unix:///path or redis+unix://@name" },
	{ "redis://[::1]", "the port is missing: write redis://HOST:PORT" },
	{ "tcp://", NO_HOST },
	{ "tcp://:80", NO_HOST },
	{ "tcp://[]:80", NO_HOST },
	{ "tcp://127.0.0.1", NO_TCP_PORT },
	{ "tcp://127.0.0.1:", NO_TCP_PORT },
	{ "tcp://[::1]", NO_TCP_PORT },
	{ "tcp://[::1]:", NO_TCP_PORT },
	{ "tcp://*", NO_TCP_PORT },
	{ "udp://localhost", "the port is missing: write udp://HOST:PORT" },
	{ "tcp://[::1]80", "expected :PORT behind the ]" },
	{ "tcp://[::1", "the ] behind the IPv6 address is missing" },
	{ "tcp://::1:80", BRACKETS },
	{ "tcp://::", BRACKETS },
	{ "tcp://fe80::1%eth0:80", BRACKETS },
	{ "tcp://[127.0.0.1]:80", NOT_IPV6 },
	{ "tcp://[localhost]:80", NOT_IPV6 },
	{ "tcp://[*]:80", NOT_IPV6 },
	{ "tcp://[::g]:80", NOT_IPV6 },
	{ "tcp://[" X107 "]:80", NOT_IPV6 },
	{ "tcp://[%eth0]:80", NOT_IPV6 },
	{ "tcp://[::1%lo]:80", ZONE },
	{ "tcp://[fe80::1%]:80", BAD_ZONE },
	{ "tcp://[fe80::1%interface1234567]:80", BAD_ZONE },
	{ "tcp://localhost:65536", BAD_PORT },
	{ "tcp://localhost:99999999999999999999999", BAD_PORT },
	{ "tcp://localhost:4294967376", BAD_PORT },
	{ "tcp://localhost:-1", BAD_PORT },
	{ "tcp://localhost:+80", BAD_PORT },
	{ "tcp://localhost: 80", BAD_PORT },
	{ "tcp://localhost:80 ", BAD_PORT },
	{ "tcp://localhost:80/", BAD_PORT },
	{ "tcp://localhost:80:81", BAD_PORT },
	{ "tcp://localhost:http", BAD_PORT },
	{ "tcp://localhost:0x50", BAD_PORT },
	{ "tcp://local host:80", BAD_NAME },
	{ "tcp://**:80", BAD_NAME },
	{ "tcp://user@host:80", BAD_NAME },
	{ "tcp://h\xc3\xb6st:80", BAD_NAME },
	{ "tcp:///tmp/x:80", BAD_NAME },
	{ "tcp://-host:80", HYPHEN },
	{ "tcp://host-.example:80", HYPHEN },
	{ "tcp://.:80", EMPTY_LABEL },
	{ "tcp://.host:80", EMPTY_LABEL },
	{ "tcp://host..:80", EMPTY_LABEL },
	{ "tcp://" X63 "x:80", "a label of a host name has at most 63 characters" },
	{ "tcp://" NAME253 "x:80", "a host name has at most 253 characters" },
	{ "tcp://127.0.0.256:80", NOT_IPV4 },
	{ "tcp://127.1:80", NOT_IPV4 },
	{ "tcp://127.0.0.1.:80", NOT_IPV4 },
	{ "tcp://2130706433:80", NOT_IPV4 },
	{ "tcp://0x7f000001:80", NOT_IPV4 },
	{ "unix://", "the path is missing: write unix:///path or unix://@name" },
	{ "unixgram://", "the path is missing: write unixgram:///path or unixgram://@name" },
	{ "unix://run/echo", "the path of a Unix socket must be absolute: unix:///path" },
	{ "unix://./echo", "the path of a Unix socket must be absolute: unix:///path" },
	{ "redis+unix://run/kv", "the path of a Unix socket must be absolute: redis+unix:///path" },
	{ "unixgram://run", "the path of a Unix socket must be absolute: unixgram:///path" },
	{ "unix:///run/", "the path of a Unix socket names a file: it does not end with /" },
	{ "unix:///" X107, "the path of a Unix socket has at most 107 bytes" },
	{ "unix://@", "the name of the abstract socket is missing: write unix://@name" },
	{ "redis+unix://@",
	    "the name of the abstract socket is missing: write redis+unix://@name" },
	{ "redis://user:secret@localhost:6379", LOGIN },
	{ "redis://:secret@[::1]:6379/1", LOGIN },
	{ "redis://localhost:6379/1", DATABASE },
	{ "redis://[::1]:6379/", DATABASE },
	{ "unix://@" X107 "x", "the name of an abstract socket has at most 107 bytes" },
};

#define COUNT(array) ((int)(sizeof(array) / sizeof((array)[0])))

START_TEST(good_texts)
{
	struct address address;
	const char *why;

	ck_assert_msg(
	    address_parse(&address, good[_i].text, &why) == 0, "%s: %s", good[_i].text, why);
	ck_assert_str_eq(address.text, good[_i].text);
	ck_assert_int_eq(address.transport, good[_i].transport);
	ck_assert_pstr_eq(address.host, good[_i].host);
	ck_assert_uint_eq(address.port, good[_i].port);
	ck_assert_pstr_eq(address.path, good[_i].path);
	ck_assert_int_eq(address.protocol.resp, strncmp(good[_i].text, "redis", 5) == 0);
	address_clear(&address);
	ck_assert_ptr_null(address.text);
}
END_TEST

START_TEST(bad_texts)
{
	struct address address;
	const char *why = NULL;

	ck_assert_msg(address_parse(&address, bad[_i].text, &why) == -1, "%s", bad[_i].text);
	ck_assert_str_eq(why, bad[_i].why);
	ck_assert_ptr_null(address.text);
	ck_assert_ptr_null(address.host);
}
END_TEST

START_TEST(decimal_numbers)
{
	ck_assert_int_eq(decimal_parse("0", 9), 0);
	ck_assert_int_eq(decimal_parse("128", 128), 128);
	ck_assert_int_eq(decimal_parse("129", 128), -1);
	ck_assert_int_eq(decimal_parse("18446744073709551616", 128), -1);
	ck_assert_int_eq(decimal_parse("9223372036854775807", INT64_MAX), INT64_MAX);
	ck_assert_int_eq(decimal_parse("9223372036854775808", INT64_MAX), -1);
	ck_assert_int_eq(decimal_parse("18446744073709551617", INT64_MAX), -1);
	ck_assert_int_eq(decimal_parse("99999999999999999999999", INT64_MAX), -1);
	ck_assert_int_eq(decimal_parse("", 9), -1);
	ck_assert_int_eq(decimal_parse("-0", 9), -1);
	ck_assert_int_eq(decimal_parse("1 ", 9), -1);
}
END_TEST

/*
 * Stands before the C library's: one name has an address twice, one cannot be asked for now, and a
 * numeric host must never come without AI_NUMERICHOST.
 */
int getaddrinfo(
    const char *host, const char *port, const struct addrinfo *hints, struct addrinfo **found)
{
	int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
	struct in6_addr address;

	*(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
	if (strcmp(host, "away.example") == 0)
		return EAI_AGAIN;
	if (strcmp(host, "twice.example") == 0) {
		ck_assert_int_eq(real("192.0.2.1", port, hints, found), 0);
		ck_assert_int_eq(real("192.0.2.2", port, hints, &(*found)->ai_next), 0);
		return real("192.0.2.1", port, hints, &(*found)->ai_next->ai_next);
	}
	if (inet_pton(AF_INET, host, &address) == 1 || strchr(host, ':') != NULL)
		ck_assert(hints->ai_flags & AI_NUMERICHOST);
	return real(host, port, hints, found);
}

static struct endpoints resolve(const char *text)
{
	struct endpoints endpoints;
	struct address address;
	const char *why = NULL;

	ck_assert_int_eq(address_parse(&address, text, &why), 0);
	ck_assert_msg(endpoints_resolve(&endpoints, &address, &why) == 0, "%s: %s", text, why);
	address_clear(&address);
	return endpoints;
}

static struct endpoint resolve_one(const char *text)
{
	struct endpoints endpoints = resolve(text);
	struct endpoint endpoint = endpoints.items[0];

	ck_assert_uint_eq(endpoints.count, 1);
	endpoints_clear(&endpoints);
	ck_assert_ptr_null(endpoints.items);
	return endpoint;
}

static const char *const round_trips[] = {
	"tcp://127.0.0.1:5566",
	"udp://255.255.255.255:1",
	"tcp://[::1]:5566",
	"tcp://[::]:0",
	"tcp://[::ffff:127.0.0.1]:80",
	"udp://[ff02::1]:65535",
	"unix:///run/echod/echo.sock",
	"unix:///" X106,
	"unixgram:///a b",
	"unix://@echo",
	"unixgram://@" X107,
};

START_TEST(round_trip)
{
	struct endpoint endpoint = resolve_one(round_trips[_i]);
	char text[ADDRESS_TEXT_MAX];

	ck_assert_str_eq(endpoint_format(&endpoint, text, sizeof(text)), round_trips[_i]);
	ck_assert(!endpoint.wildcard);
}
END_TEST

START_TEST(resolve_numeric)
{
	struct endpoint endpoint = resolve_one("udp://192.0.2.1:9001");

	ck_assert_int_eq(endpoint.transport, TRANSPORT_UDP);
	ck_assert_uint_eq(endpoint.length, sizeof(endpoint.in));
	ck_assert_int_eq(endpoint.in.sin_family, AF_INET);
	ck_assert_uint_eq(ntohs(endpoint.in.sin_port), 9001);
	ck_assert_uint_eq(ntohl(endpoint.in.sin_addr.s_addr), 0xc0000201);
	ck_assert_uint_eq(sockaddr_port(&endpoint.any), 9001);
	endpoint = resolve_one("tcp://[2001:db8::1]:80");
	ck_assert_uint_eq(endpoint.length, sizeof(endpoint.in6));
	ck_assert_int_eq(endpoint.in6.sin6_family, AF_INET6);
	ck_assert_uint_eq(sockaddr_port(&endpoint.any), 80);
}
END_TEST

START_TEST(resolve_wildcard)
{
	struct endpoint endpoint = resolve_one("tcp://*:5566");

	ck_assert(endpoint.wildcard);
	ck_assert_int_eq(endpoint.in6.sin6_family, AF_INET6);
	ck_assert(IN6_IS_ADDR_UNSPECIFIED(&endpoint.in6.sin6_addr));
	ck_assert_uint_eq(sockaddr_port(&endpoint.any), 5566);
	ck_assert_uint_eq(endpoint.length, sizeof(endpoint.in6));
}
END_TEST

START_TEST(resolve_localhost)
{
	struct endpoints endpoints = resolve("tcp://localhost:80");
	bool ipv4 = false;

	for (size_t i = 0; i < endpoints.count; i++) {
		struct endpoint *one = &endpoints.items[i];

		ck_assert_uint_eq(sockaddr_port(&one->any), 80);
		ipv4 = ipv4 || (one->any.sa_family == AF_INET &&
				   one->in.sin_addr.s_addr == htonl(INADDR_LOOPBACK));
		for (size_t k = 0; k < i; k++)
			ck_assert(!endpoint_equal(one, &endpoints.items[k]));
	}
	ck_assert(ipv4);
	endpoints_clear(&endpoints);
}
END_TEST

START_TEST(resolve_twice)
{
	struct endpoints endpoints = resolve("udp://twice.example:80");

	ck_assert_uint_eq(endpoints.count, 2);
	ck_assert_uint_eq(ntohl(endpoints.items[0].in.sin_addr.s_addr), 0xc0000201);
	ck_assert_uint_eq(ntohl(endpoints.items[1].in.sin_addr.s_addr), 0xc0000202);
	endpoints_clear(&endpoints);
}
END_TEST

START_TEST(resolve_fails)
{
	struct endpoints none;
	struct address address;
	const char *why;

	ck_assert_int_eq(address_parse(&address, "tcp://away.example:80", &why), 0);
	ck_assert_int_eq(endpoints_resolve(&none, &address, &why), -1);
	ck_assert_str_eq(why, gai_strerror(EAI_AGAIN));
	ck_assert_ptr_null(none.items);
	address_clear(&address);
}
END_TEST

START_TEST(resolve_zone)
{
	struct endpoint endpoint = resolve_one("tcp://[fe80::1%lo]:80");
	char text[ADDRESS_TEXT_MAX];
	struct endpoints none;
	struct address address;
	const char *why;

	ck_assert_uint_ne(endpoint.in6.sin6_scope_id, 0);
	ck_assert_str_eq(endpoint_format(&endpoint, text, sizeof(text)), "tcp://[fe80::1%lo]:80");
	ck_assert_int_eq(address_parse(&address, "tcp://[fe80::1%nowhere]:80", &why), 0);
	ck_assert_int_eq(endpoints_resolve(&none, &address, &why), -1);
	ck_assert_str_eq(why, "there is no interface of the name behind %");
	ck_assert_ptr_null(none.items);
	address_clear(&address);
}
END_TEST

START_TEST(resolve_unix)
{
	struct endpoint endpoint = resolve_one("unix:///run/x");

	ck_assert_int_eq(endpoint.un.sun_family, AF_UNIX);
	ck_assert_str_eq(endpoint.un.sun_path, "/run/x");
	ck_assert_uint_eq(endpoint.length, offsetof(struct sockaddr_un, sun_path) + 7);
	ck_assert_uint_eq(sockaddr_port(&endpoint.any), 0);
	endpoint = resolve_one("unixgram://@name");
	ck_assert_mem_eq(endpoint.un.sun_path, "\0name", 5);
	ck_assert_uint_eq(endpoint.length, offsetof(struct sockaddr_un, sun_path) + 5);
}
END_TEST

/* The kernel must take our abstract name, and what it reports must be the same endpoint. */
START_TEST(kernel_agrees)
{
	struct endpoint endpoint, bound = { 0 };
	char text[64], shown[ADDRESS_TEXT_MAX];
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	snprintf(text, sizeof(text), "unix://@echod-test-%d", (int)getpid());
	endpoint = resolve_one(text);
	ck_assert_int_eq(bind(fd, &endpoint.any, endpoint.length), 0);
	bound.transport = TRANSPORT_UNIX;
	bound.length = sizeof(bound.storage);
	ck_assert_int_eq(getsockname(fd, &bound.any, &bound.length), 0);
	ck_assert(endpoint_equal(&endpoint, &bound));
	ck_assert_str_eq(endpoint_format(&bound, shown, sizeof(shown)), text);
	close(fd);
}
END_TEST

START_TEST(equality)
{
	static const char *const others[] = { "udp://127.0.0.1:80", "tcp://127.0.0.2:80",
		"tcp://127.0.0.1:81", "tcp://[::1]:80", "tcp://[::2]:80", "tcp://[::1]:81",
		"tcp://[fe80::1%lo]:80", "tcp://[fe80::1]:80", "unix:///a", "unix:///ab",
		"unix://@a", "unixgram:///a" };
	struct endpoint same = resolve_one("tcp://127.0.0.1:80"), again = same;

	ck_assert(endpoint_equal(&same, &again));
	for (int i = 0; i < COUNT(others); i++) {
		struct endpoint one = resolve_one(others[i]);

		ck_assert(!endpoint_equal(&same, &one));
		for (int k = 0; k < COUNT(others); k++) {
			struct endpoint other = resolve_one(others[k]);

			ck_assert_int_eq(endpoint_equal(&one, &other), i == k);
		}
	}
	same = resolve_one("tcp://*:80");
	again = resolve_one("tcp://[::]:80");
	ck_assert(endpoint_equal(&same, &again));
}
END_TEST

static void check_peer(const char *text, const char *expected)
{
	struct endpoint endpoint = resolve_one(text);
	char shown[ADDRESS_TEXT_MAX];

	sockaddr_format(&endpoint.any, endpoint.length, shown, sizeof(shown));
	ck_assert_str_eq(shown, expected);
}

START_TEST(peers)
{
	check_peer("tcp://127.0.0.1:51234", "127.0.0.1:51234");
	check_peer("tcp://[::1]:51234", "[::1]:51234");
	check_peer("tcp://[fe80::1%lo]:51234", "[fe80::1%lo]:51234");
	check_peer("udp://[::ffff:192.0.2.7]:51234", "192.0.2.7:51234");
	check_peer("unix:///run/x.sock", "unix:/run/x.sock");
	check_peer("unix:///tmp/a\nb\\", "unix:/tmp/a\\nb\\\\");
	check_peer("unix://@name", "unix:@name");
	check_peer("unix://@\033[2J", "unix:@\\x1b[2J");
}
END_TEST

START_TEST(odd_unix_peers)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	const struct sockaddr *any = (const struct sockaddr *)&un;
	socklen_t path = offsetof(struct sockaddr_un, sun_path);
	char shown[ADDRESS_TEXT_MAX], small[8];

	ck_assert_str_eq(sockaddr_format(any, 0, shown, sizeof(shown)), "unix");
	ck_assert_str_eq(sockaddr_format(any, path, shown, sizeof(shown)), "unix");
	ck_assert_str_eq(sockaddr_format(any, path + 3, shown, sizeof(shown)), "unix:@\\x00\\x00");
	memset(un.sun_path, 'x', sizeof(un.sun_path));
	sockaddr_format(any, sizeof(un) + 1, shown, sizeof(shown));
	ck_assert_str_eq(shown, "unix:" X107 "x");
	sockaddr_format(any, sizeof(un), small, sizeof(small));
	ck_assert_uint_lt(strlen(small), sizeof(small));
	memset(un.sun_path, 1, sizeof(un.sun_path));
	sockaddr_format(any, sizeof(un), shown, sizeof(shown));
	ck_assert_str_eq(shown + strlen(shown) - 3, "...");
}
END_TEST

/* A path may fill sun_path; the kernel then counts a NUL that has no room in it. */
START_TEST(full_unix_path)
{
	struct endpoint endpoint = { .transport = TRANSPORT_UNIX };
	char shown[ADDRESS_TEXT_MAX];

	memset(&endpoint.storage, 'x', sizeof(endpoint.storage));
	endpoint.un.sun_family = AF_UNIX;
	endpoint.length = sizeof(endpoint.un) + 1;
	endpoint_format(&endpoint, shown, sizeof(shown));
	ck_assert_str_eq(shown, "unix://" X107 "x");
}
END_TEST

START_TEST(unmap)
{
	struct endpoint mapped = resolve_one("tcp://[::ffff:192.0.2.7]:80");
	struct endpoint plain = resolve_one("tcp://192.0.2.7:80");
	struct endpoint other = resolve_one("tcp://[2001:db8::1]:80");

	mapped.length = sockaddr_unmap(&mapped.any, mapped.length);
	ck_assert_uint_eq(mapped.length, sizeof(mapped.in));
	ck_assert(endpoint_equal(&mapped, &plain));
	ck_assert_uint_eq(sockaddr_unmap(&plain.any, plain.length), sizeof(plain.in));
	ck_assert_uint_eq(sockaddr_unmap(&other.any, other.length), sizeof(other.in6));
	ck_assert_int_eq(other.any.sa_family, AF_INET6);
}
END_TEST

static const struct option_row row = { .key = "listen", .type = &option_addresses };

static int parse_option(const char *text, struct addresses *to, struct error *error)
{
	config_t config;
	int result;

	config_init(&config);
	ck_assert_int_eq(config_read_string(&config, text), CONFIG_TRUE);
	memset(to, 0, sizeof(*to));
	result = option_addresses.parse(&row, config_lookup(&config, "listen"), to, error);
	config_destroy(&config);
	return result;
}

static void check_option(const char *text, const char *expected)
{
	struct error error = { 0 };
	char *printed;
	struct addresses addresses;
	size_t size;
	FILE *out = open_memstream(&printed, &size);

	ck_assert_msg(parse_option(text, &addresses, &error) == 0, "%s", error.text);
	option_addresses.print(&row, &addresses, out);
	fclose(out);
	ck_assert_str_eq(printed, expected);
	free(printed);
	option_addresses.clear(&row, &addresses);
	ck_assert_ptr_null(addresses.items);
	ck_assert_uint_eq(addresses.count, 0);
}

START_TEST(option_good)
{
	check_option("listen = \"tcp://[::1]:80\";", "[ \"tcp://[::1]:80\" ]");
	check_option("listen = [ \"tcp://*:1\", \"unix:///a\\\"b\" ];",
	    "[ \"tcp://*:1\", \"unix:///a\\\"b\" ]");
	check_option("listen = [ ];", "[ ]");
}
END_TEST

START_TEST(option_bad)
{
	struct addresses addresses;
	struct error error;

	ck_assert_int_eq(
	    parse_option("listen = [ \"tcp://*:1\", \"tcp://x\\n\" ];", &addresses, &error), -1);
	ck_assert_str_eq(error.text, "\"tcp://x\\n\": the port is missing: write tcp://HOST:PORT");
	ck_assert_ptr_null(addresses.items);
	ck_assert_int_eq(parse_option("listen = 80;", &addresses, &error), -1);
	ck_assert_ptr_nonnull(strstr(error.text, "expected a string or an array of strings"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("address");
	TCase *tc = tcase_create("text");
	SRunner *sr = srunner_create(s);
	int failed;

	tcase_add_loop_test(tc, good_texts, 0, COUNT(good));
	tcase_add_loop_test(tc, bad_texts, 0, COUNT(bad));
	tcase_add_test(tc, decimal_numbers);
	suite_add_tcase(s, tc);

	tc = tcase_create("resolve");
	tcase_add_test(tc, resolve_numeric);
	tcase_add_test(tc, resolve_wildcard);
	tcase_add_test(tc, resolve_localhost);
	tcase_add_test(tc, resolve_twice);
	tcase_add_test(tc, resolve_fails);
	tcase_add_test(tc, resolve_zone);
	tcase_add_test(tc, resolve_unix);
	tcase_add_test(tc, kernel_agrees);
	tcase_add_test(tc, equality);
	suite_add_tcase(s, tc);

	tc = tcase_create("format");
	tcase_add_loop_test(tc, round_trip, 0, COUNT(round_trips));
	tcase_add_test(tc, peers);
	tcase_add_test(tc, odd_unix_peers);
	tcase_add_test(tc, full_unix_path);
	tcase_add_test(tc, unmap);
	suite_add_tcase(s, tc);

	tc = tcase_create("option");
	tcase_add_test(tc, option_good);
	tcase_add_test(tc, option_bad);
	suite_add_tcase(s, tc);

	srunner_run_all(sr, CK_ENV);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed != 0;
}
