/*
 * From an address to endpoints of the kernel, by way of the resolver if it is a name, and from there
 * back to text. Functions that can fail return why, a constant text, or NULL when all is well.
 */
#include "net/endpoint.h"

#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/log.h"

/* Keeps what the resolver has found, each address once. */
static const char *keep_found(
    struct endpoints *to, const struct address *address, const struct addrinfo *found)
{
	size_t count = 0;

	for (const struct addrinfo *one = found; one != NULL; one = one->ai_next)
		count++;
	if ((to->items = calloc(count, sizeof(*to->items))) == NULL)
		return "out of memory";
	for (; found != NULL; found = found->ai_next) {
		struct endpoint endpoint = {
			.transport = address->transport,
			.protocol = address->protocol,
			.length = found->ai_addrlen,
		};
		size_t i = 0;

		memcpy(&endpoint.storage, found->ai_addr, found->ai_addrlen);
		while (i < to->count && !endpoint_equal(&to->items[i], &endpoint))
			i++;
		if (i == to->count)
			to->items[to->count++] = endpoint;
	}
	return NULL;
}

static const char *resolve_host(struct endpoints *to, const struct address *address)
{
	bool numeric = !address->is_name;
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
	why = keep_found(to, address, found);
	freeaddrinfo(found);
	return why;
}

int endpoints_resolve(struct endpoints *to, const struct address *address, const char **why)
{
	struct endpoint *one;
	size_t length;

	memset(to, 0, sizeof(*to));
	*why = address->host == NULL ? NULL : resolve_host(to, address);
	if (address->host != NULL)
		return *why == NULL ? 0 : -1;
	/* A Unix socket and the wildcard are one endpoint each, which needs no resolver. */
	if ((one = calloc(1, sizeof(*one))) == NULL) {
		*why = "out of memory";
		return -1;
	}
	*to = (struct endpoints){ one, 1 };
	one->transport = address->transport;
	one->protocol = address->protocol;
	if (address->path == NULL) {
		one->wildcard = true;
		one->length = sizeof(one->in6);
		one->in6.sin6_family = AF_INET6;
		one->in6.sin6_addr = in6addr_any;
		one->in6.sin6_port = htons(address->port);
		return 0;
	}
	length = strlen(address->path);
	one->un.sun_family = AF_UNIX;
	memcpy(one->un.sun_path, address->path, length);
	if (address->path[0] == '@')
		one->un.sun_path[0] = '\0';
	else
		length++; /* the NUL belongs to a path, but it would be part of a name */
	one->length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length);
	return 0;
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
	const char *prefix = scheme_prefix(endpoint->transport, endpoint->protocol);
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

const char *sockaddr_format(const struct sockaddr *address, socklen_t length, char *to, size_t size)
{
	struct endpoint copy = { .transport = TRANSPORT_UNIX };

	if (length > sizeof(copy.un)) /* see unix_name_length() */
		length = sizeof(copy.un);
	memcpy(&copy.un, address, length);
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

void network_key_map(struct in6_addr *key, const struct in_addr *address)
{
	static const uint8_t before[12] = { [10] = 0xff, [11] = 0xff };

	memcpy(key->s6_addr, before, sizeof(before));
	memcpy(key->s6_addr + sizeof(before), address, sizeof(*address));
}

bool sockaddr_key(const struct sockaddr *address, struct in6_addr *key)
{
	struct sockaddr_in in;
	struct sockaddr_in6 in6;

	switch (address->sa_family) {
	case AF_INET:
		memcpy(&in, address, sizeof(in));
		network_key_map(key, &in.sin_addr);
		return true;
	case AF_INET6:
		memcpy(&in6, address, sizeof(in6));
		*key = in6.sin6_addr;
		return true;
	default:
		return false;
	}
}

uint32_t network_key_ipv4(const struct in6_addr *key)
{
	uint32_t address;

	memcpy(&address, &key->s6_addr[12], sizeof(address));
	return ntohl(address);
}

bool network_key_is_loopback(const struct in6_addr *key)
{
	if (!IN6_IS_ADDR_V4MAPPED(key))
		return IN6_IS_ADDR_LOOPBACK(key);
	return network_key_ipv4(key) >> 24 == IN_LOOPBACKNET;
}

bool network_key_is_group(const struct in6_addr *key)
{
	return IN6_IS_ADDR_V4MAPPED(key) ? IN_MULTICAST(network_key_ipv4(key))
					 : IN6_IS_ADDR_MULTICAST(key);
}

bool network_key_is_broadcast(const struct in6_addr *key)
{
	return IN6_IS_ADDR_V4MAPPED(key) && network_key_ipv4(key) == INADDR_BROADCAST;
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

bool endpoint_is_loopback(const struct endpoint *endpoint)
{
	struct in6_addr key;

	return !sockaddr_key(&endpoint->any, &key) || network_key_is_loopback(&key);
}

bool endpoint_is_wildcard(const struct endpoint *e)
{
	static const uint8_t mapped_any[16] = { [10] = 0xff, [11] = 0xff };

	if (e->any.sa_family != AF_INET6)
		return e->in.sin_addr.s_addr == htonl(INADDR_ANY);
	return IN6_IS_ADDR_UNSPECIFIED(&e->in6.sin6_addr) ||
	       memcmp(&e->in6.sin6_addr, mapped_any, sizeof(mapped_any)) == 0;
}
