/*
 * The text of an address, taken apart and checked. Functions that can fail return what was
 * expected, a constant text, or NULL when all is well.
 */
#include "net/address.h"

#include <arpa/inet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/option_list.h"

#define LABEL_MAX 63 /* RFC 1035 */
#define NAME_MAX_LENGTH 253
#define UNIX_NAME_MAX 107 /* sun_path holds one byte more: NUL behind a path, before a name */

#define DIGITS "0123456789"
#define HEX_DIGITS DIGITS "abcdefABCDEF"
#define NAME_CHARACTERS DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"

static const char no_memory[] = "out of memory";

static const struct scheme {
	const char *prefix;
	enum transport transport;
	struct wire_protocol protocol;
	const char *missing;  /* the message when nothing follows the scheme, or no port */
	const char *relative; /* Unix: when the path does not begin with / */
	const char *unnamed;  /* and when nothing follows the @ */
} schemes[] = {
#define INET(name, transport, ...)                                                \
	{                                                                         \
		name "://", transport, { __VA_ARGS__ },                           \
		    "the port is missing: write " name "://HOST:PORT", NULL, NULL \
	}
#define LOCAL(name, transport, ...)                                                      \
	{                                                                                \
		name "://", transport, { __VA_ARGS__ },                                  \
		    "the path is missing: write " name ":///path or " name "://@name",   \
		    "the path of a Unix socket must be absolute: " name ":///path",      \
		    "the name of the abstract socket is missing: write " name "://@name" \
	}
	INET("tcp", TRANSPORT_TCP, 0),
	INET("tls", TRANSPORT_TCP, .tls = true),
	INET("redis", TRANSPORT_TCP, .resp = true),
	INET("rediss", TRANSPORT_TCP, .resp = true, .tls = true),
	INET("udp", TRANSPORT_UDP, 0),
	LOCAL("unix", TRANSPORT_UNIX, 0),
	LOCAL("redis+unix", TRANSPORT_UNIX, .resp = true),
	LOCAL("unixgram", TRANSPORT_UNIXGRAM, 0),
#undef INET
#undef LOCAL
};
#define SCHEMES (sizeof(schemes) / sizeof(schemes[0]))

const char *scheme_prefix(enum transport transport, struct wire_protocol protocol)
{
	const struct scheme *scheme = schemes;

	while (scheme->transport != transport || scheme->protocol.resp != protocol.resp ||
	       scheme->protocol.tls != protocol.tls)
		scheme++;
	return scheme->prefix;
}

int64_t decimal_parse(const char *text, int64_t max)
{
	int64_t value = 0;

	if (*text == '\0')
		return -1;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		if (__builtin_mul_overflow(value, 10, &value) ||
		    __builtin_add_overflow(value, *text - '0', &value) || value > max)
			return -1;
	}
	return value;
}

static const char *check_ipv6(const char *host)
{
	const char *zone = strchrnul(host, '%');
	char bare[INET6_ADDRSTRLEN];
	struct in6_addr address;

	if ((size_t)(zone - host) >= sizeof(bare))
		return "expected an IPv6 address in the brackets";
	memcpy(bare, host, (size_t)(zone - host));
	bare[zone - host] = '\0';
	if (inet_pton(AF_INET6, bare, &address) != 1)
		return "expected an IPv6 address in the brackets";
	if (*zone == '\0')
		return NULL;
	if (!IN6_IS_ADDR_LINKLOCAL(&address) && !IN6_IS_ADDR_MC_LINKLOCAL(&address))
		return "only a link-local address has a zone behind %: [fe80::1%eth0]";
	if (zone[1] == '\0' || strlen(zone + 1) >= IF_NAMESIZE)
		return "the zone behind % must be the name of an interface: [fe80::1%eth0]";
	return NULL;
}

/* Resolvers parse a name that ends in a number ("10.1", "0x7f000001") as an old form of IPv4. */
static bool label_is_number(const char *label, size_t length)
{
	if (length > 2 && label[0] == '0' && (label[1] == 'x' || label[1] == 'X'))
		return strspn(label + 2, HEX_DIGITS) >= length - 2;
	return strspn(label, DIGITS) >= length;
}

static const char *check_name(const char *host)
{
	const char *label = host;
	size_t length;

	if (strlen(host) > NAME_MAX_LENGTH)
		return "a host name has at most 253 characters";
	for (;;) {
		length = strcspn(label, ".");
		if (length == 0)
			return "the host name has an empty label between its dots";
		if (length > LABEL_MAX)
			return "a label of a host name has at most 63 characters";
		if (strspn(label, NAME_CHARACTERS) < length)
			return "a host name consists of letters, digits, hyphens and dots";
		if (label[0] == '-' || label[length - 1] == '-')
			return "a label of a host name neither begins nor ends with a hyphen";
		/* A last dot only marks the name as complete. */
		if (label[length] == '\0' || label[length + 1] == '\0')
			break;
		label += length + 1;
	}
	if (label_is_number(label, length))
		return "an IPv4 address has four numbers from 0 to 255";
	return NULL;
}

/* For those who forget the brackets: more than one colon, and nothing that is not IPv6. */
static bool looks_like_ipv6(const char *rest)
{
	size_t length = strspn(rest, HEX_DIGITS ":.");
	const char *colon = strchr(rest, ':');

	return (rest[length] == '\0' || rest[length] == '%') && colon != NULL &&
	       strchr(colon + 1, ':') != NULL;
}

/* "HOST:PORT" */
static const char *parse_inet(
    struct address *address, const char *text, const struct scheme *scheme)
{
	bool bracketed = *text == '[';
	const char *host = text + bracketed;
	size_t length = strcspn(host, bracketed ? "]" : ":");
	const char *behind = host + length + bracketed;
	struct in_addr in;
	int64_t port;

	/* Clients of Redis write such addresses. */
	if (scheme->protocol.resp && strchr(text, '@') != NULL)
		return "a user and a password do not belong here: write redis://HOST:PORT";
	if (scheme->protocol.resp && strchr(text, '/') != NULL)
		return "a database number does not belong here: write redis://HOST:PORT";
	if (bracketed && host[length] == '\0')
		return "the ] behind the IPv6 address is missing";
	if (!bracketed && looks_like_ipv6(text))
		return "an IPv6 address needs brackets: [::1]";
	if (length == 0)
		return "the host is missing: write an address, a name or *";
	if (*behind == '\0' || strcmp(behind, ":") == 0)
		return scheme->missing;
	if (*behind != ':')
		return "expected :PORT behind the ]";
	if ((port = decimal_parse(behind + 1, UINT16_MAX)) == -1)
		return "the port must be a number from 0 to 65535 with nothing behind it";
	address->port = (uint16_t)port;
	if (!bracketed && length == 1 && *host == '*')
		return NULL;
	if ((address->host = strndup(host, length)) == NULL)
		return no_memory;
	if (bracketed)
		return check_ipv6(address->host);
	address->is_name = inet_pton(AF_INET, address->host, &in) != 1;
	return address->is_name ? check_name(address->host) : NULL;
}

/* "/path" or "@name" */
static const char *parse_unix(
    struct address *address, const char *text, const struct scheme *scheme)
{
	size_t length = strlen(text);

	if (length == 0)
		return scheme->missing;
	if (text[0] != '/' && text[0] != '@')
		return scheme->relative;
	if (strcmp(text, "@") == 0)
		return scheme->unnamed;
	if (text[0] == '@' && length - 1 > UNIX_NAME_MAX)
		return "the name of an abstract socket has at most 107 bytes";
	if (text[0] == '/' && length > UNIX_NAME_MAX)
		return "the path of a Unix socket has at most 107 bytes";
	if (text[0] == '/' && text[length - 1] == '/')
		return "the path of a Unix socket names a file: it does not end with /";
	return (address->path = strdup(text)) == NULL ? no_memory : NULL;
}

static const char *parse(struct address *address, const char *text)
{
	const struct scheme *scheme = schemes;
	const char *rest;

	if (strstr(text, "://") == NULL)
		return "the scheme is missing: write tcp://, tls://, udp://, unix://, unixgram://, "
		       "redis://, rediss:// or redis+unix:// first";
	while (scheme < schemes + SCHEMES &&
	       strncmp(text, scheme->prefix, strlen(scheme->prefix)) != 0)
		scheme++;
	if (scheme == schemes + SCHEMES)
		return "unknown scheme: expected tcp, tls, udp, unix, unixgram, redis, rediss or redis+unix";
	address->transport = scheme->transport;
	address->protocol = scheme->protocol;
	if ((address->text = strdup(text)) == NULL)
		return no_memory;
	rest = text + strlen(scheme->prefix);
	return transport_is_unix(address->transport) ? parse_unix(address, rest, scheme)
						     : parse_inet(address, rest, scheme);
}

int address_parse(struct address *address, const char *text, const char **why)
{
	memset(address, 0, sizeof(*address));
	if ((*why = parse(address, text)) == NULL)
		return 0;
	address_clear(address);
	return -1;
}

void address_clear(struct address *address)
{
	free(address->text);
	free(address->host);
	free(address->path);
	memset(address, 0, sizeof(*address));
}

const char *address_zone(const struct address *address)
{
	const char *percent = address->host == NULL ? NULL : strchr(address->host, '%');

	return percent == NULL ? NULL : percent + 1;
}

struct address address_without_zone(const struct address *address, char host[ADDRESS_HOST_MAX])
{
	struct address plain = *address;

	if (address_zone(address) != NULL) {
		snprintf(host, ADDRESS_HOST_MAX, "%.*s", (int)strcspn(address->host, "%"),
		    address->host);
		plain.host = host;
	}
	return plain;
}

static int address_parse_item(void *item, const char *text, struct error *error)
{
	const char *expected;

	return address_parse(item, text, &expected) == 0 ? 0 : error_set(error, "%s", expected);
}

static void address_clear_item(void *item)
{
	address_clear(item);
}

static const struct option_item address_item = {
	.size = sizeof(struct address),
	.text = offsetof(struct address, text),
	.line = offsetof(struct address, line),
	.parse = address_parse_item,
	.clear = address_clear_item,
};

const struct option_type option_addresses = {
	.name = "an address or an array of them",
	.size = sizeof(struct addresses),
	.parse = option_list_parse,
	.print = option_list_print,
	.equal = option_list_equal,
	.copy = option_list_copy,
	.clear = option_list_clear,
	.item = &address_item,
};

/* The IPv4 address that the host is, also of one that is written as IPv6: ::ffff:127.0.0.1. */
static bool is_ipv4(const char *host, struct in_addr *in)
{
	struct in6_addr in6;

	if (inet_pton(AF_INET, host, in) == 1)
		return true;
	if (inet_pton(AF_INET6, host, &in6) != 1 || !IN6_IS_ADDR_V4MAPPED(&in6))
		return false;
	memcpy(in, &in6.s6_addr[12], sizeof(*in));
	return true;
}

bool address_is_public(const struct address *address)
{
	static const struct {
		uint32_t prefix, mask;
	} private[] = { { 0x7f000000, 0xff000000 }, { 0x0a000000, 0xff000000 },
		{ 0xac100000, 0xfff00000 }, { 0xc0a80000, 0xffff0000 },
		{ 0xa9fe0000, 0xffff0000 } };
	struct in_addr in;
	struct in6_addr in6;

	if (transport_is_unix(address->transport))
		return false;
	if (address->host == NULL)
		return true;
	if (is_ipv4(address->host, &in)) {
		for (size_t i = 0; i < sizeof(private) / sizeof(private[0]); i++)
			if ((ntohl(in.s_addr) & private[i].mask) == private[i].prefix)
				return false;
		return true;
	}
	if (inet_pton(AF_INET6, address->host, &in6) != 1)
		return false; /* one with a scope, too */
	return !IN6_IS_ADDR_LOOPBACK(&in6) && !IN6_IS_ADDR_LINKLOCAL(&in6) &&
	       (in6.s6_addr[0] & 0xfe) != 0xfc;
}

bool address_is_loopback(const struct address *address)
{
	struct in_addr in;
	struct in6_addr in6;

	if (transport_is_unix(address->transport))
		return true;
	if (address->host == NULL)
		return false;
	if (is_ipv4(address->host, &in))
		return ntohl(in.s_addr) >> 24 == IN_LOOPBACKNET;
	if (inet_pton(AF_INET6, address->host, &in6) == 1)
		return IN6_IS_ADDR_LOOPBACK(&in6);
	return strcasecmp(address->host, "localhost") == 0 ||
	       strcasecmp(address->host, "ip6-localhost") == 0;
}
