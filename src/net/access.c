/*
 * Networks and who is in them. A list is short and compared one by one, with no more work than a
 * memcmp each; its texts are kept so that the effective configuration reads as it was written.
 */
#include "net/access.h"

#include <arpa/inet.h>
#include <endian.h>
#include <libconfig.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/option_list.h"
#include "net/address.h"
#include "net/endpoint.h"
#include "net/peer.h"

#define MAPPED_BITS 96 /* of ::ffff:0:0/96, where IPv4 lives */

/* A mask of the upper `bits` of 64, in network order. */
static uint64_t upper_bits(unsigned bits)
{
	return bits == 0 ? 0 : htobe64(UINT64_MAX << (64 - bits));
}

static void keep_prefix(struct in6_addr *address, unsigned length)
{
	uint64_t halves[2];

	memcpy(halves, address, sizeof(halves));
	halves[0] &= upper_bits(length < 64 ? length : 64);
	halves[1] &= upper_bits(length < 64 ? 0 : length - 64);
	memcpy(address, halves, sizeof(halves));
}

void prefixes_mask(const struct prefixes *prefixes, struct in6_addr *key)
{
	keep_prefix(key,
	    IN6_IS_ADDR_V4MAPPED(key) ? MAPPED_BITS + (unsigned)prefixes->ipv4 : prefixes->ipv6);
}

bool site_mask(const struct prefixes *prefixes, struct in6_addr *key)
{
	if (IN6_IS_ADDR_V4MAPPED(key) || prefixes->ipv6 <= SITE_LENGTH)
		return false;
	keep_prefix(key, SITE_LENGTH);
	return true;
}

/* The text up to `length` as a prefix; returns the family, or AF_UNSPEC when it is no address. */
static int parse_prefix(struct in6_addr *prefix, const char *text, size_t length)
{
	char address[INET6_ADDRSTRLEN];
	struct in_addr ipv4;

	if (length >= sizeof(address))
		return AF_UNSPEC;
	memcpy(address, text, length);
	address[length] = '\0';
	if (inet_pton(AF_INET6, address, prefix) == 1)
		return AF_INET6;
	if (inet_pton(AF_INET, address, &ipv4) != 1)
		return AF_UNSPEC;
	network_key_map(prefix, &ipv4);
	return AF_INET;
}

int network_parse(struct network *network, const char *text, struct error *error)
{
	const char *slash = strchrnul(text, '/');
	int family = parse_prefix(&network->prefix, text, (size_t)(slash - text));
	long max = family == AF_INET ? 32 : 128;
	long length = *slash == '/' ? decimal_parse(slash + 1, max) : max;
	char right[INET6_ADDRSTRLEN];
	struct in6_addr whole;

	network->text = NULL;
	if (family == AF_UNSPEC)
		return error_set(error, "expected an IPv4 or IPv6 address or ADDRESS/LENGTH");
	if (length == -1)
		return error_set(error, "the length behind / must be a number from 0 to %ld", max);
	network->length = (uint8_t)(length + 128 - max);
	if (family == AF_INET6 && IN6_IS_ADDR_V4MAPPED(&network->prefix) &&
	    network->length < MAPPED_BITS)
		return error_set(
		    error, "an IPv4-mapped network has a length of 96 or more: write it as IPv4");
	whole = network->prefix;
	keep_prefix(&network->prefix, network->length);
	if (!IN6_ARE_ADDR_EQUAL(&whole, &network->prefix)) {
		inet_ntop(family, &network->prefix.s6_addr[family == AF_INET ? 12 : 0], right,
		    sizeof(right));
		return error_set(
		    error, "bits are set behind the prefix: write %s/%ld", right, length);
	}
	network->text = strdup(text);
	return network->text == NULL ? error_memory(error) : 0;
}

void network_clear(struct network *network)
{
	free(network->text);
	memset(network, 0, sizeof(*network));
}

static bool network_has(const struct network *network, const struct in6_addr *key)
{
	size_t bytes = network->length / 8;
	unsigned bits = network->length % 8;

	if (network->length < MAPPED_BITS && IN6_IS_ADDR_V4MAPPED(key))
		return false;
	if (memcmp(&network->prefix, key, bytes) != 0)
		return false;
	return bits == 0 ||
	       (network->prefix.s6_addr[bytes] ^ key->s6_addr[bytes]) >> (8 - bits) == 0;
}

bool network_matches(const struct network *network, const struct peer *peer)
{
	return peer_is_ip(peer) && !network->is_unix && network_has(network, &peer->key);
}

bool networks_match(const struct networks *networks, const struct peer *peer)
{
	for (size_t i = 0; i < networks->count; i++)
		if (network_matches(&networks->items[i], peer) ||
		    (networks->items[i].is_unix && peer->family == AF_UNIX))
			return true;
	return false;
}

static const struct network *longest_match(
    const struct networks *networks, const struct in6_addr *key)
{
	const struct network *longest = NULL;

	for (size_t i = 0; i < networks->count; i++) {
		const struct network *network = &networks->items[i];

		if ((longest == NULL || network->length > longest->length) &&
		    network_has(network, key))
			longest = network;
	}
	return longest;
}

struct access_decision access_decide(
    const struct networks *allow, const struct networks *deny, const struct peer *peer)
{
	struct access_decision decision = { .allowed = peer->family == AF_UNIX };

	if (!peer_is_ip(peer))
		return decision;
	decision.allow = longest_match(allow, &peer->key);
	decision.deny = longest_match(deny, &peer->key);
	if (decision.allow == NULL)
		decision.allowed = decision.deny == NULL && allow->count == 0;
	else
		decision.allowed =
		    decision.deny == NULL || decision.allow->length > decision.deny->length;
	return decision;
}

bool access_allows(
    const struct networks *allow, const struct networks *deny, const struct peer *peer)
{
	return access_decide(allow, deny, peer).allowed;
}

static int network_parse_item(void *item, const char *text, struct error *error)
{
	return network_parse(item, text, error);
}

static void network_clear_item(void *item)
{
	network_clear(item);
}

static const struct option_item network_item = {
	.size = sizeof(struct network),
	.text = offsetof(struct network, text),
	.line = offsetof(struct network, line),
	.parse = network_parse_item,
	.clear = network_clear_item,
};

const struct option_type option_networks = {
	.name = "a network or an array of them",
	.size = sizeof(struct networks),
	.parse = option_list_parse,
	.print = option_list_print,
	.equal = option_list_equal,
	.copy = option_list_copy,
	.clear = option_list_clear,
	.item = &network_item,
};

static int peer_parse_item(void *item, const char *text, struct error *error)
{
	struct network *network = item;

	if (strcmp(text, "unix") != 0) {
		if (network_parse(network, text, error) == 0)
			return 0;
		if (strpbrk(text, ".:/") == NULL) /* not even the beginning of an address */
			error_set(error,
			    "expected \"unix\", or an IPv4 or IPv6 address or ADDRESS/LENGTH");
		return -1;
	}
	network->is_unix = true;
	network->text = strdup(text);
	return network->text == NULL ? error_memory(error) : 0;
}

static const struct option_item peer_item = {
	.size = sizeof(struct network),
	.text = offsetof(struct network, text),
	.line = offsetof(struct network, line),
	.parse = peer_parse_item,
	.clear = network_clear_item,
};

const struct option_type option_peers = {
	.name = "networks or \"unix\", one or an array",
	.size = sizeof(struct networks),
	.parse = option_list_parse,
	.print = option_list_print,
	.equal = option_list_equal,
	.copy = option_list_copy,
	.clear = option_list_clear,
	.item = &peer_item,
};

/* Parses `length` bytes of the text as a number from 1 to max; -1 = it is not one. */
static long parse_length(const char *text, size_t length, long max)
{
	char digits[8];
	long value;

	if (length >= sizeof(digits))
		return -1;
	memcpy(digits, text, length);
	digits[length] = '\0';
	value = decimal_parse(digits, max);
	return value == 0 ? -1 : value;
}

static void describe_prefixes(const struct option_row *row, char *to, size_t size)
{
	(void)row;
	snprintf(to, size,
	    "the prefix lengths of IPv4 (1 to 32) and IPv6 (1 to 128), such as \"24/56\"");
}

static int parse_prefixes(const struct option_row *row, const struct config_setting_t *setting,
    void *field, struct error *error)
{
	const char *text = config_setting_get_string(setting);
	const char *slash = text == NULL ? NULL : strchr(text, '/');
	long ipv4 = slash == NULL ? -1 : parse_length(text, (size_t)(slash - text), 32);
	long ipv6 = slash == NULL ? -1 : parse_length(slash + 1, strlen(slash + 1), 128);
	char shape[128];

	if (ipv4 == -1 || ipv6 == -1) {
		describe_prefixes(row, shape, sizeof(shape));
		return option_refuse(error, setting, shape);
	}
	*(struct prefixes *)field =
	    (struct prefixes){ .ipv4 = (uint8_t)ipv4, .ipv6 = (uint8_t)ipv6 };
	return 0;
}

static void print_prefixes(const struct option_row *row, const void *field, FILE *out)
{
	const struct prefixes *prefixes = field;

	(void)row;
	fprintf(out, "\"%u/%u\"", prefixes->ipv4, prefixes->ipv6);
}

const struct option_type option_prefixes = {
	.name = "prefix lengths of IPv4 and IPv6",
	.size = sizeof(struct prefixes),
	.parse = parse_prefixes,
	.print = print_prefixes,
	.describe = describe_prefixes,
};
