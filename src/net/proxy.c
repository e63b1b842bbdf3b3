/* Both versions begin with different bytes. Nothing is guessed: other bytes are no header. */
#include "net/proxy.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "net/address.h"

#define V1_MAX 107 /* bytes, with its CR LF */
#define V2_SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define V2_SIGNATURE_LENGTH 12
#define V2_FIXED 16 /* the signature, version and command, family, length */

enum { COMMAND_LOCAL = 0x20, COMMAND_PROXY = 0x21 };
enum { FAMILY_UNSPECIFIED = 0x00, FAMILY_TCP4 = 0x11, FAMILY_TCP6 = 0x21, FAMILY_UNIX = 0x31 };

#define TYPE_CRC32C 0x03
#define CRC32C_LENGTH 4
#define EXTENSION_HEAD 3 /* its type and its length */

static enum proxy_parsed broken(const char **why, const char *expected)
{
	*why = expected;
	return PROXY_BROKEN;
}

/* --- version 1: "PROXY TCP4 192.0.2.1 192.0.2.2 51000 443\r\n" --- */

static bool set_source(struct proxy_header *header, int family, const void *address, uint16_t port)
{
	struct sockaddr_in in = { .sin_family = AF_INET, .sin_port = htons(port) };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6, .sin6_port = htons(port) };

	header->is_announced = true;
	if (family == AF_INET) {
		memcpy(&in.sin_addr, address, sizeof(in.sin_addr));
		peer_set(&header->source, (struct sockaddr *)&in, sizeof(in));
	} else {
		memcpy(&in6.sin6_addr, address, sizeof(in6.sin6_addr));
		peer_set(&header->source, (struct sockaddr *)&in6, sizeof(in6));
	}
	return true;
}

/* Cuts the next word off; each but the last is followed by one space. Behind an empty one there are no others. */
static char *next_word(char **rest)
{
	char *word = *rest;

	if (word == NULL)
		return NULL;
	*rest = strchr(word, ' ');
	if (*rest != NULL)
		*(*rest)++ = '\0';
	if (*word != '\0')
		return word;
	*rest = NULL;
	return NULL;
}

static bool parse_v1_line(char *line, struct proxy_header *header)
{
	char *rest = line + strlen("PROXY ");
	const char *protocol = next_word(&rest), *source, *target, *from, *to;
	struct in6_addr source_address, target_address;
	int64_t port;
	int family;

	if (protocol != NULL && strcmp(protocol, "UNKNOWN") == 0)
		return true; /* whatever is behind it */
	source = next_word(&rest);
	target = next_word(&rest);
	from = next_word(&rest);
	to = next_word(&rest);
	if (to == NULL || rest != NULL)
		return false;
	if (strcmp(protocol, "TCP4") != 0 && strcmp(protocol, "TCP6") != 0)
		return false;
	family = protocol[3] == '4' ? AF_INET : AF_INET6;
	port = decimal_parse(from, UINT16_MAX);
	return inet_pton(family, source, &source_address) == 1 &&
	       inet_pton(family, target, &target_address) == 1 && port != -1 &&
	       decimal_parse(to, UINT16_MAX) != -1 &&
	       set_source(header, family, &source_address, (uint16_t)port);
}

static enum proxy_parsed parse_v1(
    const char *bytes, size_t length, struct proxy_header *header, const char **why)
{
	size_t most = length < V1_MAX ? length : V1_MAX;
	const char *end = memchr(bytes, '\n', most);
	char line[V1_MAX];

	if (end == NULL && length < V1_MAX)
		return PROXY_PARTIAL;
	if (end == NULL || end == bytes || end[-1] != '\r')
		return broken(why, "expected a PROXY line of at most 107 bytes, with CR LF");
	header->length = (size_t)(end + 1 - bytes);
	memcpy(line, bytes, header->length);
	line[header->length - 2] = '\0';
	if (strlen(line) == header->length - 2 && parse_v1_line(line, header))
		return PROXY_DONE;
	return broken(why, "expected PROXY TCP4, TCP6 or UNKNOWN, two addresses and two ports");
}

/* --- version 2 --- */

static uint16_t big_endian_16(const unsigned char *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

/* CRC-32C (RFC 3720, appendix B.4) of the header, with zeroes in the place of the checksum itself. */
static uint32_t crc32c(const unsigned char *bytes, size_t length, size_t checksum)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < length; i++) {
		crc ^= i - checksum < CRC32C_LENGTH ? 0 : bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? UINT32_C(0x82f63b78) : 0);
	}
	return ~crc;
}

/* The extensions, from `at` on. NULL, or what was expected. */
static const char *check_extensions(const unsigned char *bytes, size_t length, size_t at)
{
	while (at < length) {
		const unsigned char *value = bytes + at + EXTENSION_HEAD;
		size_t size;

		if (length - at < EXTENSION_HEAD)
			return "an extension of the PROXY header is cut off";
		size = big_endian_16(bytes + at + 1);
		if (size > length - at - EXTENSION_HEAD)
			return "an extension of the PROXY header is longer than the header";
		if (bytes[at] == TYPE_CRC32C) {
			uint32_t crc;

			if (size != CRC32C_LENGTH)
				return "the checksum of the PROXY header has 4 bytes";
			crc = (uint32_t)big_endian_16(value) << 16 | big_endian_16(value + 2);
			if (crc != crc32c(bytes, length, at + EXTENSION_HEAD))
				return "the checksum of the PROXY header is wrong";
		}
		at += EXTENSION_HEAD + size;
	}
	return NULL;
}

/* How many bytes of addresses a family has; -1 = no stream has such ones. */
static int addresses_length(int family)
{
	switch (family) {
	case FAMILY_UNSPECIFIED:
		return 0;
	case FAMILY_TCP4:
		return 2 * 4 + 2 * 2;
	case FAMILY_TCP6:
		return 2 * 16 + 2 * 2;
	case FAMILY_UNIX:
		return 2 * 108;
	default:
		return -1;
	}
}

static enum proxy_parsed parse_v2(
    const unsigned char *bytes, size_t length, struct proxy_header *header, const char **why)
{
	const unsigned char *addresses = bytes + V2_FIXED;
	int command, family, size;
	const char *expected;

	if (length < V2_FIXED)
		return PROXY_PARTIAL;
	command = bytes[12];
	family = bytes[13];
	header->length = V2_FIXED + (size_t)big_endian_16(bytes + 14);
	if (command != COMMAND_LOCAL && command != COMMAND_PROXY)
		return broken(why, "expected version 2 and the command LOCAL or PROXY");
	if (header->length > PROXY_HEADER_MAX)
		return broken(why, "a PROXY header has at most 536 bytes here");
	size = command == COMMAND_LOCAL ? 0 : addresses_length(family);
	if (size == -1)
		return broken(why, "expected the addresses of a TCP or Unix stream");
	if (header->length < V2_FIXED + (size_t)size)
		return broken(why, "the PROXY header is too short for its addresses");
	if (length < header->length)
		return PROXY_PARTIAL;
	/* The receiver must discard what the proxy says of itself, whatever its family: it need not be extensions. */
	if (command == COMMAND_LOCAL)
		return PROXY_DONE;
	/* Behind an unspecified family we expect extensions, as haproxy sends them. */
	expected = check_extensions(bytes, header->length, V2_FIXED + (size_t)size);
	if (expected != NULL)
		return broken(why, expected);
	if (family == FAMILY_TCP4)
		set_source(header, AF_INET, addresses, big_endian_16(addresses + 8));
	else if (family == FAMILY_TCP6)
		set_source(header, AF_INET6, addresses, big_endian_16(addresses + 32));
	return PROXY_DONE;
}

enum proxy_parsed proxy_parse(
    const char *bytes, size_t length, struct proxy_header *header, const char **why)
{
	static const char v1[] = "PROXY ";
	const size_t v1_length = sizeof(v1) - 1;

	*header = (struct proxy_header){ 0 };
	if (memcmp(bytes, v1, length < v1_length ? length : v1_length) == 0)
		return parse_v1(bytes, length, header, why);
	if (memcmp(bytes, V2_SIGNATURE,
		length < V2_SIGNATURE_LENGTH ? length : V2_SIGNATURE_LENGTH) == 0)
		return parse_v2((const unsigned char *)bytes, length, header, why);
	return broken(why, "expected a PROXY header");
}
