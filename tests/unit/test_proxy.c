/* Headers of the PROXY protocol: those that proxies send, cut at every byte, and those that are wrong. */
#include "net/proxy.h"

#include <check.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "net/address.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define SIGNATURE_LENGTH 12

enum { LOCAL = 0x20, PROXY = 0x21 };
enum { UNSPECIFIED = 0x00, TCP4 = 0x11, UDP4 = 0x12, TCP6 = 0x21, UNIX = 0x31 };
enum { TYPE_ALPN = 1, TYPE_AUTHORITY = 2, TYPE_CRC32C = 3, TYPE_NOOP = 4, TYPE_UNIQUE_ID = 5 };

/* A header that a test puts together. */
struct made {
	uint8_t bytes[1024];
	size_t length;
};

static struct made text(const char *line)
{
	struct made made = { .length = strlen(line) };

	memcpy(made.bytes, line, made.length);
	return made;
}

static void set_length(struct made *made)
{
	made->bytes[14] = (uint8_t)((made->length - 16) >> 8);
	made->bytes[15] = (uint8_t)(made->length - 16);
}

static void add(struct made *made, const void *bytes, size_t length)
{
	memcpy(made->bytes + made->length, bytes, length);
	made->length += length;
	set_length(made);
}

static struct made binary(uint8_t command, uint8_t family)
{
	struct made made = { .length = 16 };

	memcpy(made.bytes, SIGNATURE, SIGNATURE_LENGTH);
	made.bytes[12] = command;
	made.bytes[13] = family;
	return made;
}

static struct made tcp4(uint8_t command)
{
	static const uint8_t addresses[] = { 192, 0, 2, 1, 192, 0, 2, 2, 0xc7, 0x38, 0x01, 0xbb };
	struct made made = binary(command, TCP4);

	add(&made, addresses, sizeof(addresses));
	return made;
}

/* 2001:db8::LAST, or ::ffff:192.0.2.LAST */
static struct made tcp6(bool mapped, uint8_t last)
{
	uint8_t addresses[36] = { 0x20, 0x01, 0x0d, 0xb8 };
	struct made made = binary(PROXY, TCP6);

	if (mapped)
		memcpy(addresses, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xc0\0\x02", 15);
	addresses[15] = last;
	addresses[31] = 1;
	addresses[32] = 0xff;
	addresses[33] = 0xff;
	add(&made, addresses, sizeof(addresses));
	return made;
}

static void extend(struct made *made, uint8_t type, const void *value, size_t length)
{
	const uint8_t head[] = { type, (uint8_t)(length >> 8), (uint8_t)length };

	add(made, head, sizeof(head));
	add(made, value, length);
}

/* Computed without proxy.c's help, over the whole header with zeroes in place of the checksum. */
static void fill_in_checksum(struct made *made, size_t at)
{
	uint32_t crc = UINT32_MAX;

	memset(made->bytes + at, 0, 4);
	for (size_t i = 0; i < made->length * 8; i++) {
		uint32_t bit = (made->bytes[i / 8] >> i % 8) & 1;

		crc = (crc ^ bit) & 1 ? crc >> 1 ^ UINT32_C(0x82f63b78) : crc >> 1;
	}
	crc = ~crc;
	for (int i = 0; i < 4; i++)
		made->bytes[at + (size_t)i] = (uint8_t)(crc >> (24 - 8 * i));
}

static void add_checksum(struct made *made)
{
	extend(made, TYPE_CRC32C, "\0\0\0\0", 4);
	fill_in_checksum(made, made->length - 4);
}

/* Fills in the header up to so many bytes. */
static void pad(struct made *made, size_t length)
{
	static const uint8_t zeroes[1024];

	extend(made, TYPE_NOOP, zeroes, length - made->length - 3);
}

/* From memory of exactly that size, in which a sanitizer sees each byte too many that is read. */
static enum proxy_parsed parse(
    const uint8_t *bytes, size_t length, struct proxy_header *header, const char **why)
{
	char *copy = malloc(length == 0 ? 1 : length);
	enum proxy_parsed parsed;

	ck_assert_ptr_nonnull(copy);
	memcpy(copy, bytes, length);
	*why = NULL;
	parsed = proxy_parse(copy, length, header, why);
	free(copy);
	return parsed;
}

/* Every cut is PARTIAL; with bytes behind it the same. `source` = NULL: no client is announced. */
static void expect(struct made made, const char *source)
{
	struct proxy_header header;
	char shown[ADDRESS_TEXT_MAX];
	const char *why;
	size_t length = made.length;

	for (size_t cut = 0; cut < length; cut++)
		ck_assert_msg(parse(made.bytes, cut, &header, &why) == PROXY_PARTIAL,
		    "%zu of %zu bytes: %s", cut, length, why == NULL ? "done" : why);
	memcpy(made.bytes + length, "\r\n\r\nGET", 7);
	for (size_t more = 0; more < 8; more++) {
		ck_assert_msg(parse(made.bytes, length + more, &header, &why) == PROXY_DONE, "%s",
		    why == NULL ? "partial" : why);
		ck_assert_uint_eq(header.length, length);
		ck_assert_int_eq(header.is_announced, source != NULL);
		if (source != NULL)
			ck_assert_str_eq(peer_format(&header.source, shown, sizeof(shown)), source);
	}
}

static void expect_broken(struct made made, const char *expected)
{
	struct proxy_header header;
	const char *why;

	ck_assert_msg(parse(made.bytes, made.length, &header, &why) == PROXY_BROKEN,
	    "not broken: expected \"%s\"", expected);
	ck_assert_str_eq(why, expected);
}

/* --- version 1 --- */

#define LONGEST "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"

static const struct {
	const char *line, *source;
} lines[] = {
	{ "PROXY TCP4 192.0.2.1 192.0.2.2 51000 443\r\n", "192.0.2.1:51000" },
	{ "PROXY TCP4 127.0.0.1 127.0.0.1 40000 40001\r\n", "127.0.0.1:40000" },
	{ "PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", "255.255.255.255:65535" },
	{ "PROXY TCP4 192.0.2.1 192.0.2.2 0 0\r\n", "192.0.2.1:0" },
	{ "PROXY TCP6 2001:db8::1 2001:db8::2 51000 443\r\n", "[2001:db8::1]:51000" },
	{ "PROXY TCP6 ::ffff:192.0.2.1 ::1 1 2\r\n", "192.0.2.1:1" },
	{ "PROXY TCP6 " LONGEST " " LONGEST " 65535 65535\r\n", "[" LONGEST "]:65535" },
	{ "PROXY UNKNOWN\r\n", NULL },
	{ "PROXY UNKNOWN " LONGEST " " LONGEST " 65535 65535\r\n", NULL },
	{ "PROXY UNKNOWN  and so on \r\n", NULL },
};

START_TEST(test_line)
{
	expect(text(lines[_i].line), lines[_i].source);
}
END_TEST

#define NO_LINE "expected a PROXY line of at most 107 bytes, with CR LF"
#define NO_WORDS "expected PROXY TCP4, TCP6 or UNKNOWN, two addresses and two ports"
#define NO_HEADER "expected a PROXY header"

static const struct {
	const char *line, *why;
} bad_lines[] = {
	{ "GET / HTTP/1.0\r\n", NO_HEADER },
	{ "P GET\r\n", NO_HEADER },
	{ "PROXYING\r\n", NO_HEADER },
	{ "proxy TCP4 192.0.2.1 192.0.2.2 1 2\r\n", NO_HEADER },
	{ " PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", NO_HEADER },
	{ "\r\nPROXY UNKNOWN\r\n", NO_HEADER },
	{ "\r\n\r\nQUIT", NO_HEADER },
	{ "\x16\x03\x01", NO_HEADER },
	{ "PROXY UNKNOWN\n", NO_LINE },
	{ "PROXY \n", NO_LINE },
	{ "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\n\r\n", NO_LINE },
	{ "PROXY UNKNOWN " LONGEST " " LONGEST " 65535 65535 \r\n", NO_LINE },
	{ "PROXY UNKNOWN " LONGEST LONGEST LONGEST, NO_LINE },
	{ "PROXY \r\n", NO_WORDS },
	{ "PROXY  \r\n", NO_WORDS },
	{ "PROXY  TCP4 192.0.2.1 192.0.2.2 1 2\r\n", NO_WORDS },
	{ "PROXY  192.0.2.1 192.0.2.2 1 2\r\n", NO_WORDS },
	{ "PROXY TCP4\r\n", NO_WORDS },
	{ "PROXY TCP4 \r\n", NO_WORDS },
	{ "PROXY TCP4  192.0.2.2 1 2\r\n", NO_WORDS },
	{ "PROXY TCP4 192.0.2.1  1 2\r\n", NO_WORDS },
	{ "PROXY TCP4 192.0.2.1 192.0.2.2  2\r\n", NO_WORDS },
	{ "PROXY TCP4 192.0.2.1 192.0.2.2 1 \r\n", NO_WORDS },
	{ "PROXY TCP4 192.0.2.1 192.0.2.2 1\r\n", NO_WORDS },
	{ "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 \r\n", NO_WORDS },
	{ "PROXY TCP4 192.0.2.1 192.0.2.2 1 2 3\r\n", NO_WORDS },
	{ "PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\r\n", NO_WORDS },
	{ "PROXY TCP4 192.0.2.1 192.0.2.2 65536 2\r\n", NO_WORDS },
	{ "PROXY TCP4 192.0.2.1 192.0.2.2 1 65536\r\n", NO_WORDS },
	{ "PROXY TCP4 192.0.2.1 192.0.2.2 -1 2\r\n", NO_WORDS },
	{ "PROXY TCP4 192.0.2.1 192.0.2.2 0x1 2\r\n", NO_WORDS },
	{ "PROXY TCP4 192.0.2.256 192.0.2.2 1 2\r\n", NO_WORDS },
	{ "PROXY TCP4 192.0.2.1 192.0.2 1 2\r\n", NO_WORDS },
	{ "PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n", NO_WORDS },
	{ "PROXY TCP6 192.0.2.1 192.0.2.2 1 2\r\n", NO_WORDS },
	{ "PROXY TCP6 fe80::1%lo fe80::2 1 2\r\n", NO_WORDS },
	{ "PROXY TCP5 192.0.2.1 192.0.2.2 1 2\r\n", NO_WORDS },
	{ "PROXY UDP4 192.0.2.1 192.0.2.2 1 2\r\n", NO_WORDS },
	{ "PROXY unknown\r\n", NO_WORDS },
	{ "PROXY UNKNOWN\t\r\n", NO_WORDS },
};

START_TEST(test_bad_line)
{
	expect_broken(text(bad_lines[_i].line), bad_lines[_i].why);
}
END_TEST

START_TEST(test_line_with_a_zero)
{
	struct made made = text("PROXY TCP4 192.0.2.1 192.0.2.2 1 2 and\r\n");

	made.bytes[34] = '\0';
	expect_broken(made, NO_WORDS);
}
END_TEST

/* --- version 2 --- */

START_TEST(test_addresses)
{
	expect(tcp4(PROXY), "192.0.2.1:51000");
	expect(tcp6(false, 9), "[2001:db8::9]:65535");
	expect(tcp6(true, 9), "192.0.2.9:65535");
}
END_TEST

START_TEST(test_no_client_is_announced)
{
	static const uint8_t paths[216] = "/run/client";
	static const int families[] = { UNSPECIFIED, TCP4, UDP4, UNIX, 0x41, 0xff };
	struct made unix_stream = binary(PROXY, UNIX);

	expect(binary(LOCAL, UNSPECIFIED), NULL); /* a client of haproxy's Unix socket */
	expect(binary(PROXY, UNSPECIFIED), NULL);
	expect(tcp4(LOCAL), NULL);
	add(&unix_stream, paths, sizeof(paths));
	expect(unix_stream, NULL);
	for (size_t i = 0; i < sizeof(families) / sizeof(families[0]); i++) {
		struct made local = binary(LOCAL, families[i]);

		expect(local, NULL);
		add(&local, "\3\0", 2);
		expect(local, NULL);
		add(&local, "cdef", 4);
		expect(local, NULL);
	}
}
END_TEST

/* haproxy's health check with proxy-v2-options crc32c. */
START_TEST(test_health_check)
{
	struct made check = binary(LOCAL, UNSPECIFIED);

	add_checksum(&check);
	ck_assert_uint_eq(check.length, 16 + 7);
	expect(check, NULL);
	check.bytes[22] ^= 1;
	expect(check, NULL);
	check.bytes[12] = PROXY;
	expect_broken(check, "the checksum of the PROXY header is wrong");
}
END_TEST

START_TEST(test_extensions)
{
	struct made made = tcp4(PROXY);

	extend(&made, TYPE_AUTHORITY, "", 0);
	expect(made, "192.0.2.1:51000");
	extend(&made, TYPE_ALPN, "h2", 2);
	extend(&made, TYPE_UNIQUE_ID, "0123456789abcdef0123456789abcdef", 32);
	extend(&made, 0xe0, "", 0);
	expect(made, "192.0.2.1:51000");
	add_checksum(&made);
	expect(made, "192.0.2.1:51000");
	/* The checksum is computed over what is behind it as well. */
	extend(&made, TYPE_NOOP, "", 0);
	expect_broken(made, "the checksum of the PROXY header is wrong");
	fill_in_checksum(&made, made.length - 3 - 4);
	expect(made, "192.0.2.1:51000");
	ck_assert_uint_le(made.length, 97);
}
END_TEST

START_TEST(test_every_bit_of_a_checked_header_counts)
{
	struct made made = tcp4(PROXY);
	struct proxy_header header;
	const char *why;

	add_checksum(&made);
	for (size_t bit = 16 * 8; bit < made.length * 8; bit++) {
		made.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
		/* Another type is another extension, which nobody knows. */
		if (bit / 8 != made.length - 7)
			ck_assert_int_eq(
			    parse(made.bytes, made.length, &header, &why), PROXY_BROKEN);
		made.bytes[bit / 8] ^= (uint8_t)(1u << bit % 8);
	}
	expect(made, "192.0.2.1:51000");
}
END_TEST

START_TEST(test_bad_extensions)
{
	static const char cut_off[] = "an extension of the PROXY header is cut off";
	struct made made = tcp4(PROXY), unspecified = binary(PROXY, UNSPECIFIED);

	add(&made, "\4", 1);
	expect_broken(made, cut_off);
	add(&made, "\0", 1);
	expect_broken(made, cut_off);
	add(&made, "\1", 1);
	expect_broken(made, "an extension of the PROXY header is longer than the header");
	made = tcp4(PROXY);
	extend(&made, TYPE_CRC32C, "\0\0\0", 3);
	expect_broken(made, "the checksum of the PROXY header has 4 bytes");
	add(&unspecified, "\3\0", 2);
	expect_broken(unspecified, cut_off);
}
END_TEST

START_TEST(test_longest)
{
	struct made made = tcp6(false, 1);

	pad(&made, PROXY_HEADER_MAX);
	ck_assert_uint_eq(made.length, 536);
	expect(made, "[2001:db8::1]:65535");
	made = tcp6(false, 1);
	pad(&made, PROXY_HEADER_MAX + 1);
	expect_broken(made, "a PROXY header has at most 536 bytes here");
	/* That is seen at once, as is a LOCAL one's. */
	made.length = 16;
	expect_broken(made, "a PROXY header has at most 536 bytes here");
	made.bytes[12] = LOCAL;
	made.bytes[14] = made.bytes[15] = 0xff;
	expect_broken(made, "a PROXY header has at most 536 bytes here");
}
END_TEST

START_TEST(test_bad_heads)
{
	static const char no_command[] = "expected version 2 and the command LOCAL or PROXY";
	static const char no_stream[] = "expected the addresses of a TCP or Unix stream";
	static const char too_short[] = "the PROXY header is too short for its addresses";
	static const uint8_t families[] = { TCP4, TCP6, UNIX };
	static const size_t sizes[] = { 12, 36, 216 };

	expect_broken(binary(0x11, TCP4), no_command);
	expect_broken(binary(0x31, TCP4), no_command);
	expect_broken(binary(0x22, TCP4), no_command);
	expect_broken(binary(0x00, TCP4), no_command);
	expect_broken(binary(PROXY, UDP4), no_stream);
	expect_broken(binary(PROXY, 0x22), no_stream);
	expect_broken(binary(PROXY, 0x32), no_stream);
	expect_broken(binary(PROXY, 0x01), no_stream);
	expect_broken(binary(PROXY, 0x41), no_stream);
	for (int i = 0; i < 3; i++) {
		static const uint8_t zeroes[216];
		struct made made = binary(PROXY, families[i]);

		expect_broken(made, too_short);
		add(&made, zeroes, sizes[i] - 1);
		expect_broken(made, too_short);
	}
}
END_TEST

/* Each wrong byte of the signature is seen as soon as it is there. */
START_TEST(test_bad_signature)
{
	for (size_t i = 0; i < SIGNATURE_LENGTH; i++) {
		struct made made = binary(LOCAL, UNSPECIFIED);

		made.bytes[i] ^= 0x40;
		made.length = i + 1;
		expect_broken(made, NO_HEADER);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("proxy");
	TCase *tests = tcase_create("headers");
	SRunner *runner;
	int failed;

	tcase_add_loop_test(tests, test_line, 0, (int)(sizeof(lines) / sizeof(lines[0])));
	tcase_add_loop_test(
	    tests, test_bad_line, 0, (int)(sizeof(bad_lines) / sizeof(bad_lines[0])));
	tcase_add_test(tests, test_line_with_a_zero);
	tcase_add_test(tests, test_addresses);
	tcase_add_test(tests, test_no_client_is_announced);
	tcase_add_test(tests, test_health_check);
	tcase_add_test(tests, test_extensions);
	tcase_add_test(tests, test_every_bit_of_a_checked_header_counts);
	tcase_add_test(tests, test_bad_extensions);
	tcase_add_test(tests, test_longest);
	tcase_add_test(tests, test_bad_heads);
	tcase_add_test(tests, test_bad_signature);
	suite_add_tcase(suite, tests);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? 0 : 1;
}
