/* Access: allow and deny rules; the longest prefix wins, deny wins a tie. */
#ifndef ECHOD_NET_ACCESS_H
#define ECHOD_NET_ACCESS_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/option.h"

struct peer;

/*
 * IPv4 networks are kept as ::ffff:a.b.c.d/96+n, so that one comparison serves both families and
 * an IPv4-mapped peer counts as IPv4. The families stay apart all the same: a shorter prefix,
 * such as ::/0, matches IPv6 peers only, and 0.0.0.0/0 (here: /96) matches IPv4 peers only.
 */
struct network {
	struct in6_addr prefix; /* bits behind the length are zero */
	uint8_t length;         /* 0 to 128 */
	char *text;             /* as written */
	int line;               /* of the file, if it came from one */
	bool is_unix;           /* "unix", in a list that takes it: those on Unix sockets */
};

struct networks {
	struct network *items;
	size_t count;
};

/* The type of `allow` and `deny`: one string or an array; the field is a struct networks. */
extern const struct option_type option_networks;
/* The same, with "unix". */
extern const struct option_type option_peers;

/*
 * "10.0.0.0/8", "::1/128", "192.0.2.1". 0, or -1 with an error that says what was expected; for a
 * set host bit that is the right prefix.
 */
int network_parse(struct network *network, const char *text, struct error *error);
void network_clear(struct network *network);

/* How many leading bits of an address identify its source: all addresses that share them count together. */
struct prefixes {
	uint8_t ipv4, ipv6; /* 1 to 32, 1 to 128 */
};

/* For a default: OPTION_DEFAULT(struct x, y, prefixes, PREFIX_LENGTHS(24, 56)). */
#define PREFIX_LENGTHS(ipv4_, ipv6_) .ipv4 = (ipv4_), .ipv6 = (ipv6_)

/* The option type of prefix lengths, "IPV4/IPV6" such as "24/56"; the field is a struct prefixes. */
extern const struct option_type option_prefixes;

/* Zeroes the bits of a sockaddr_key() after the prefix of its family: it then identifies the source. */
void prefixes_mask(const struct prefixes *prefixes, struct in6_addr *key);

/*
 * A site is an IPv6 /48, which one customer may have. If sources are longer prefixes than that, the site counts as
 * well, and all its sources together get SITE_SHARES times the limit of one.
 */
#define SITE_LENGTH 48
#define SITE_SHARES 4

/* Reduces a sockaddr_key() to its site; false, and nothing is changed, if it has none that counts. */
bool site_mask(const struct prefixes *prefixes, struct in6_addr *key);

/* Whether the peer is in the network; a Unix peer is in none. */
bool network_matches(const struct network *network, const struct peer *peer);
/* Whether one of a list of option_peers does. */
bool networks_match(const struct networks *networks, const struct peer *peer);

/* The rules that apply to a peer, and their decision. */
struct access_decision {
	bool allowed;
	const struct network *allow, *deny; /* the longest of each that match; NULL = none does */
};
struct access_decision access_decide(
    const struct networks *allow, const struct networks *deny, const struct peer *peer);

/*
 * With `allow` not empty, who matches no rule is denied. Unix peers are always allowed: their
 * rule is the socket's mode.
 */
bool access_allows(
    const struct networks *allow, const struct networks *deny, const struct peer *peer);

#endif
