/* The target of the connection is not told: the server knows it, and reads the source alone. */
#include "echoctl/announcement.h"

#include <arpa/inet.h>
#include <string.h>

#include "echoctl/echoctl.h"
#include "net/address.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define HEAD 16

enum { COMMAND_LOCAL = 0x20, COMMAND_PROXY = 0x21 };
enum { FAMILY_TCP4 = 0x11, FAMILY_TCP6 = 0x21 };

/* The address of the source, zeroes as that of the target, and both ports. */
static void add_addresses(
    struct announcement *a, uint8_t family, const void *address, size_t length, uint16_t port)
{
	a->bytes[12] = COMMAND_PROXY;
	a->bytes[13] = family;
	memcpy(a->bytes + HEAD, address, length);
	a->bytes[HEAD + 2 * length] = (uint8_t)(port >> 8);
	a->bytes[HEAD + 2 * length + 1] = (uint8_t)port;
	a->length = HEAD + 2 * length + 4;
	a->bytes[15] = (uint8_t)(a->length - HEAD);
}

int announcement_make(struct announcement *a, const char *source)
{
	const char *colon = strrchr(source, ':');
	size_t length = colon == NULL ? 0 : (size_t)(colon - source);
	int64_t port = colon == NULL ? -1 : decimal_parse(colon + 1, UINT16_MAX);
	char host[INET6_ADDRSTRLEN + 2] = "";
	struct in6_addr address;

	*a = (struct announcement){ .length = HEAD };
	memcpy(a->bytes, SIGNATURE, sizeof(SIGNATURE) - 1);
	a->bytes[12] = COMMAND_LOCAL;
	if (strcmp(source, "local") == 0)
		return STATUS_OK;
	if (port != -1 && length < sizeof(host))
		memcpy(host, source, length);
	if (inet_pton(AF_INET, host, &address) == 1) {
		add_addresses(a, FAMILY_TCP4, &address, sizeof(struct in_addr), (uint16_t)port);
		return STATUS_OK;
	}
	if (host[0] == '[' && host[length - 1] == ']') {
		host[length - 1] = '\0';
		if (inet_pton(AF_INET6, host + 1, &address) == 1) {
			add_addresses(a, FAMILY_TCP6, &address, sizeof(address), (uint16_t)port);
			return STATUS_OK;
		}
	}
	complain("--proxy: expected an address such as 192.0.2.1:51000 or [2001:db8::1]:51000, or "
		 "\"local\", got \"%.64s\"",
	    source);
	return STATUS_USAGE;
}
