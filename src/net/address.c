/*
 * Addresses as text and as the kernel takes them, in both directions. Functions that can fail
 * return what was expected, a constant text, or NULL when all is well.
 */
#include "net/address.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"

#define LABEL_MAX 63 /* RFC 1035 */
#define NAME_MAX_LENGTH 253
#define UNIX_NAME_MAX 107 /* sun_path holds one byte more: NUL behind a path, before a name */

#define DIGITS "0123456789"
#define HEX_DIGITS DIGITS "abcdefABCDEF"
#define NAME_CHARACTERS DIGITS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-_"

static const char no_memory[] = "out of memory";

static const struct scheme {
	const char *prefix;
	const char *missing; /* what to say when what makes it an address is not there */
} schemes[] = {
	[TRANSPORT_TCP] = { "tcp://", "the port is missing: write tcp://HOST:PORT" },
	[TRANSPORT_UDP] = { "udp://", "the port is missing: write udp://HOST:PORT" },
	[TRANSPORT_UNIX] = { "unix://", "the path is missing: write unix:///path or unix://@name" },
	[TRANSPORT_UNIXGRAM] = { "unixgram://",
	    "the path is missing: write unixgram:///path or unixgram://@name" },
};
#define SCHEMES (sizeof(schemes) / sizeof(schemes[0]))

long decimal_parse(const char *text, long max)
{
	long value = 0;

	if (*text == '\0')
		return -1;
	for (; *text != '\0'; text++) {
		if (*text < '0' || *text > '9')
			return -1;
		value = value * 10 + (*text - '0');
		if (value > max)
			return -1;
	}
	return value;
}

static const char *check_zone(const char *zone, const struct in6_addr *address)
{
	if (!IN6_IS_ADDR_LINKLOCAL(address) && !IN6_IS_ADDR_MC_LINKLOCAL(address))
		return "only a link-local address has a zone behind %: [fe80::1%eth0]";
	if (*zone == '\0' || strlen(zone) >= IF_NAMESIZE)
		return "the zone behind % must be the name of an interface: [fe80::1%eth0]";
	return NULL;
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
	return *zone == '%' ? check_zone(zone + 1, &address) : NULL;
}

/* Resolvers take a name that ends in a number ("10.1", "0x7f000001") for an old form of IPv4. */
static bool label_is_number(const char *label, size_t length)
{
	if (length > 2 && label[0] == '0' && (label[1] == 'x' || label[1] == 'X'))
		return strspn(label + 2, HEX_DIGITS) >= length - 2;
	return strspn(label, DIGITS) >= length;
}

static const char *check_label(const char *label, size_t length)
{
	if (length == 0)
		return "the host name has an empty label between its dots";
	if (length > LABEL_MAX)
		return "a label of a host name has at most 63 characters";
	if (strspn(label, NAME_CHARACTERS) < length)
		return "a host name consists of letters, digits, hyphens and dots";
	if (label[0] == '-' || label[length - 1] == '-')
		return "a label of a host name neither begins nor ends with a hyphen";
	return NULL;
}

static const char *check_name(const char *host)
{
	const char *label = host, *why;
	size_t length;

	if (strlen(host) > NAME_MAX_LENGTH)
		return "a host name has at most 253 characters";
	for (;;) {
		length = strcspn(label, ".");
		if ((why = check_label(label, length)) != NULL)
			return why;
		/* A last dot only says that the name is complete. */
		if (label[length] == '\0' || label[length + 1] == '\0')
			break;
		label += length + 1;
	}
	if (label_is_number(label, length))
		return "an IPv4 address has four numbers from 0 to 255";
	return NULL;
}

/* IPv4 or IPv6, as check_ipv6() and check_name() have let it pass: only IPv6 has a colon. */
static bool host_is_numeric(const char *host)
{
	struct in_addr address;

	return strchr(host, ':') != NULL || inet_pton(AF_INET, host, &address) == 1;
}

/* For those who forget the brackets: more than one colon, and nothing that is not IPv6. */
static bool looks_like_ipv6(const char *rest)
{
	size_t length = strspn(rest, HEX_DIGITS ":.");
	const char *colon = strchr(rest, ':');

	return (rest[length] == '\0' || rest[length] == '%') && colon != NULL &&
	       strchr(colon + 1, ':') != NULL;
}

/* Takes ":PORT". */
static const char *parse_port(struct address *address, const char *text)
{
	long port;

	if (*text == '\0' || strcmp(text, ":") == 0)
		return schemes[address->transport].missing;
	if (*text != ':')
		return "expected :PORT behind the ]";
	if ((port = decimal_parse(text + 1, UINT16_MAX)) == -1)
		return "the port must be a number from 0 to 65535 with nothing behind it";
	address->port = (uint16_t)port;
	return NULL;
}

/* Takes "HOST:PORT". */
static const char *parse_inet(struct address *address, const char *text)
{
	bool bracketed = *text == '[';
	const char *host = text + bracketed;
	size_t length = strcspn(host, bracketed ? "]" : ":");
	const char *why;

	if (bracketed && host[length] == '\0')
		return "the ] behind the IPv6 address is missing";
	if (!bracketed && looks_like_ipv6(text))
		return "an IPv6 address needs brackets: [::1]";
	if (length == 0)
		return "the host is missing: write an address, a name or *";
	if ((why = parse_port(address, host + length + bracketed)) != NULL)
		return why;
	if (!bracketed && length == 1 && *host == '*')
		return NULL;
	if ((address->host = strndup(host, length)) == NULL)
		return no_memory;
	if (bracketed)
		return check_ipv6(address->host);
	return host_is_numeric(address->host) ? NULL : check_name(address->host);
}

/* Takes "/path" or "@name". */
static const char *parse_unix(struct address *address, const char *text)
{
	size_t length = strlen(text);

	if (length == 0)
		return schemes[address->transport].missing;
	if (text[0] != '/' && text[0] != '@')
		return "the path of a Unix socket must be absolute: unix:///path";
	if (strcmp(text, "@") == 0)
		return "the name of the abstract socket is missing: write unix://@name";
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
	if (strstr(text, "://") == NULL)
		return "the scheme is missing: write tcp://, udp://, unix:// or unixgram:// first";
	for (size_t i = 0; i < SCHEMES; i++) {
		size_t length = strlen(schemes[i].prefix);

		if (strncmp(text, schemes[i].prefix, length) != 0)
			continue;
		address->transport = (enum transport)i;
		if ((address->text = strdup(text)) == NULL)
			return no_memory;
		return transport_is_unix(address->transport) ? parse_unix(address, text + length)
							     : parse_inet(address, text + length);
	}
	return "unknown scheme: expected tcp, udp, unix or unixgram";
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

bool address_is_name(const struct address *address)
{
	return address->host != NULL && !host_is_numeric(address->host);
}

static void clear_addresses(void *field)
{
	struct addresses *addresses = field;

	for (size_t i = 0; i < addresses->count; i++)
		address_clear(&addresses->items[i]);
	free(addresses->items);
	memset(addresses, 0, sizeof(*addresses));
}

static int parse_texts(
    struct addresses *addresses, const struct texts *texts, char *why, size_t why_size)
{
	char shown[ADDRESS_TEXT_MAX];
	const char *expected;

	addresses->items = calloc(texts->count, sizeof(*addresses->items));
	if (addresses->items == NULL && texts->count > 0) {
		snprintf(why, why_size, "%s", no_memory);
		return -1;
	}
	for (; addresses->count < texts->count; addresses->count++) {
		const char *text = texts->items[addresses->count];

		if (address_parse(&addresses->items[addresses->count], text, &expected) == 0)
			continue;
		log_escape(shown, sizeof(shown), text, strlen(text));
		snprintf(why, why_size, "\"%s\": %s", shown, expected);
		clear_addresses(addresses);
		return -1;
	}
	return 0;
}

static int parse_addresses(const struct option_row *row, const struct config_setting_t *setting,
    void *field, char *why, size_t why_size)
{
	struct texts texts = { 0 };
	int result;

	if (option_strings.parse(row, setting, &texts, why, why_size) == -1)
		return -1;
	result = parse_texts(field, &texts, why, why_size);
	texts_clear(&texts);
	return result;
}

static void print_addresses(const struct option_row *row, const void *field, FILE *out)
{
	const struct addresses *addresses = field;

	fputs("[ ", out);
	for (size_t i = 0; i < addresses->count; i++) {
		fputs(i == 0 ? "" : ", ", out);
		option_string.print(row, &addresses->items[i].text, out);
	}
	fputs(addresses->count == 0 ? "]" : " ]", out);
}

const struct option_type option_addresses = {
	.name = "an address or an array of them",
	.size = sizeof(struct addresses),
	.parse = parse_addresses,
	.print = print_addresses,
	.clear = clear_addresses,
};

static void fill_unix(struct endpoint *to, const char *path)
{
	size_t length = strlen(path);

	to->un.sun_family = AF_UNIX;
	memcpy(to->un.sun_path, path, length);
	if (path[0] == '@')
		to->un.sun_path[0] = '\0';
	else
		length++; /* the NUL belongs to a path, but it would be part of a name */
	to->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
}

static void fill_wildcard(struct endpoint *to, uint16_t port)
{
	to->wildcard = true;
	to->length = sizeof(to->in6);
	to->in6.sin6_family = AF_INET6;
	to->in6.sin6_addr = in6addr_any;
	to->in6.sin6_port = htons(port);
}

/* For what is one endpoint without a question to anybody: Unix sockets and the wildcard. */
static const char *resolve_one(struct endpoints *to, const struct address *address)
{
	if ((to->items = calloc(1, sizeof(*to->items))) == NULL)
		return no_memory;
	to->count = 1;
	to->items[0].transport = address->transport;
	if (address->path != NULL)
		fill_unix(&to->items[0], address->path);
	else
		fill_wildcard(&to->items[0], address->port);
	return NULL;
}

static bool endpoints_have(const struct endpoints *endpoints, const struct endpoint *endpoint)
{
	for (size_t i = 0; i < endpoints->count; i++)
		if (endpoint_equal(&endpoints->items[i], endpoint))
			return true;
	return false;
}

/* Keeps what the resolver has found, each address once. */
static const char *keep_found(
    struct endpoints *to, enum transport transport, const struct addrinfo *found)
{
	size_t count = 0;

	for (const struct addrinfo *one = found; one != NULL; one = one->ai_next)
		count++;
	if ((to->items = calloc(count, sizeof(*to->items))) == NULL)
		return no_memory;
	for (; found != NULL; found = found->ai_next) {
		struct endpoint endpoint = {
			.transport = transport,
			.length = found->ai_addrlen,
		};

		memcpy(&endpoint.storage, found->ai_addr, found->ai_addrlen);
		if (!endpoints_have(to, &endpoint))
			to->items[to->count++] = endpoint;
	}
	return NULL;
}

static const char *resolve_host(struct endpoints *to, const struct address *address)
{
	bool numeric = host_is_numeric(address->host);
	/* No AI_ADDRCONFIG: it hides ::1 on a machine that has no IPv6 but the loopback's. */
	struct addrinfo hints = {
		.ai_flags = AI_NUMERICSERV | (numeric ? AI_NUMERICHOST : 0),
		.ai_socktype = transport_is_stream(address->transport) ? SOCK_STREAM : SOCK_DGRAM,
	};
	struct addrinfo *found;
	const char *why;
	char port[6];
	int error;

	snprintf(port, sizeof(port), "%u", address->port);
	error = getaddrinfo(address->host, port, &hints, &found);
	if (error == EAI_SYSTEM)
		return strerror(errno);
	if (error == EAI_NONAME && numeric)
		return "there is no interface of the name behind %";
	if (error != 0)
		return gai_strerror(error);
	why = keep_found(to, address->transport, found);
	freeaddrinfo(found);
	return why;
}

int address_resolve(const struct address *address, struct endpoints *to, const char **why)
{
	memset(to, 0, sizeof(*to));
	*why = address->host != NULL ? resolve_host(to, address) : resolve_one(to, address);
	return *why == NULL ? 0 : -1;
}

void endpoints_clear(struct endpoints *endpoints)
{
	free(endpoints->items);
	memset(endpoints, 0, sizeof(*endpoints));
}

/*
 * Bytes of the name in sun_path: 0 = unnamed. The NUL before an abstract name counts, one behind
 * a path does not; the kernel may report a path without one, or a length that reaches over the
 * field's end.
 */
static size_t unix_name_length(const struct sockaddr_un *un, socklen_t length)
{
	size_t before = offsetof(struct sockaddr_un, sun_path);
	size_t n = length > before ? length - before : 0;

	if (n > sizeof(un->sun_path))
		n = sizeof(un->sun_path);
	return n > 0 && un->sun_path[0] != '\0' ? strnlen(un->sun_path, n) : n;
}

uint16_t endpoint_port(const struct endpoint *endpoint)
{
	switch (endpoint->any.sa_family) {
	case AF_INET:
		return ntohs(endpoint->in.sin_port);
	case AF_INET6:
		return ntohs(endpoint->in6.sin6_port);
	default:
		return 0;
	}
}

bool endpoint_equal(const struct endpoint *a, const struct endpoint *b)
{
	size_t length;

	if (a->transport != b->transport || a->any.sa_family != b->any.sa_family)
		return false;
	switch (a->any.sa_family) {
	case AF_INET:
		return a->in.sin_port == b->in.sin_port &&
		       a->in.sin_addr.s_addr == b->in.sin_addr.s_addr;
	case AF_INET6:
		return a->in6.sin6_port == b->in6.sin6_port &&
		       a->in6.sin6_scope_id == b->in6.sin6_scope_id &&
		       IN6_ARE_ADDR_EQUAL(&a->in6.sin6_addr, &b->in6.sin6_addr);
	default:
		length = unix_name_length(&a->un, a->length);
		return length == unix_name_length(&b->un, b->length) &&
		       memcmp(a->un.sun_path, b->un.sun_path, length) == 0;
	}
}

/* "/path", "@name" or nothing. */
static void format_unix(const struct sockaddr_un *un, socklen_t length, char *to, size_t size)
{
	size_t n = unix_name_length(un, length);

	if (n > 0 && un->sun_path[0] == '\0' && size > 1) {
		*to = '@';
		log_escape(to + 1, size - 1, un->sun_path + 1, n - 1);
	} else {
		log_escape(to, size, un->sun_path, n);
	}
}

/* "127.0.0.1:80", "[::1]:80" or "[fe80::1%eth0]:80". */
static void format_inet(const struct sockaddr *address, socklen_t length, char *to, size_t size)
{
	char host[INET6_ADDRSTRLEN + IF_NAMESIZE], port[6];
	bool bracketed = address->sa_family == AF_INET6;

	if (getnameinfo(address, length, host, sizeof(host), port, sizeof(port),
		NI_NUMERICHOST | NI_NUMERICSERV) != 0)
		snprintf(to, size, "unknown");
	else
		snprintf(
		    to, size, "%s%s%s:%s", bracketed ? "[" : "", host, bracketed ? "]" : "", port);
}

const char *endpoint_format(const struct endpoint *endpoint, char *to, size_t size)
{
	const char *prefix = schemes[endpoint->transport].prefix;
	size_t length = strlen(prefix);

	snprintf(to, size, "%s", prefix);
	if (length >= size)
		return to;
	if (transport_is_unix(endpoint->transport))
		format_unix(&endpoint->un, endpoint->length, to + length, size - length);
	else
		format_inet(&endpoint->any, endpoint->length, to + length, size - length);
	return to;
}

const char *peer_format(const struct sockaddr *peer, socklen_t length, char *to, size_t size)
{
	struct endpoint copy = { .transport = TRANSPORT_UNIX };

	if (length > sizeof(copy.un)) /* see unix_name_length() */
		length = sizeof(copy.un);
	memcpy(&copy.un, peer, length);
	length = sockaddr_unmap(&copy.any, length);
	if (copy.any.sa_family == AF_INET || copy.any.sa_family == AF_INET6) {
		format_inet(&copy.any, length, to, size);
	} else if (unix_name_length(&copy.un, length) == 0) {
		snprintf(to, size, "unix");
	} else {
		snprintf(to, size, "unix:");
		if (size > strlen("unix:"))
			format_unix(&copy.un, length, to + strlen("unix:"), size - strlen("unix:"));
	}
	return to;
}

uint16_t sockaddr_port(const struct sockaddr *address)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	switch (address->sa_family) {
	case AF_INET:
		memcpy(&in, address, sizeof(in));
		return ntohs(in.sin_port);
	case AF_INET6:
		memcpy(&in6, address, sizeof(in6));
		return ntohs(in6.sin6_port);
	default:
		return 0;
	}
}

socklen_t sockaddr_unmap(struct sockaddr *address, socklen_t length)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	struct sockaddr_in6 in6;

	if (length < sizeof(in6) || address->sa_family != AF_INET6)
		return length;
	memcpy(&in6, address, sizeof(in6));
	if (!IN6_IS_ADDR_V4MAPPED(&in6.sin6_addr))
		return length;
	in.sin_port = in6.sin6_port;
	memcpy(&in.sin_addr, &in6.sin6_addr.s6_addr[12], sizeof(in.sin_addr));
	memcpy(address, &in, sizeof(in));
	return sizeof(in);
}
