/*
 * The datagram guards under any sequence of peers, payloads and pauses: no prefix gets more than its rate, an
 * exchange that is repeated is muted for its minute and no other is, and what the first three guards forbid never
 * passes.
 */
#include "net/guard.h"

#include <arpa/inet.h>
#include <string.h>
#include <sys/un.h>

#include "fuzz.h"

#define MUTE_MS 60000
#define OWN_PORT 9001

static const struct {
	int family;
	const char *host;
	int prefix; /* peers of one prefix share a bucket; -1 = exempt from the rate */
	bool bad;   /* cannot be a source */
} hosts[] = {
	{ AF_INET, "192.0.2.1", 0, false },
	{ AF_INET, "192.0.2.200", 0, false },
	{ AF_INET6, "::ffff:192.0.2.7", 0, false },
	{ AF_INET, "198.51.100.1", 1, false },
	{ AF_INET6, "2001:db8::1", 2, false },
	{ AF_INET6, "2001:db8:0:ff::1", 2, false },
	{ AF_INET6, "2001:db8:0:100::1", 3, false }, /* a site with the prefix before it */
	{ AF_INET6, "2001:db8:1::1", 4, false },
	{ AF_INET, "127.0.0.1", -1, false },
	{ AF_INET6, "::1", -1, false },
	{ AF_UNIX, "/client", -1, false },
	{ AF_INET, "0.0.0.0", -1, true },
	{ AF_INET, "224.0.0.1", -1, true },
	{ AF_INET, "255.255.255.255", -1, true },
	{ AF_INET6, "::", -1, true },
	{ AF_INET6, "ff02::1", -1, true },
	{ AF_INET6, "::ffff:224.0.0.1", -1, true },
};
#define HOSTS (sizeof(hosts) / sizeof(hosts[0]))
#define PORTS 8
#define PREFIXES 5
#define MUTES 512

static const uint16_t ports[PORTS] = { 0, 53, 1900, OWN_PORT, 1024, 40000, 40001, 65535 };

struct mute {
	size_t host, port, length;
	uint8_t request[4];
	int64_t until;
};

static struct {
	struct mute mutes[MUTES];
	size_t mute_count;
	int64_t replies[PREFIXES];
	int64_t begin, now;
} seen;

static socklen_t make_address(struct sockaddr_storage *storage, size_t host, uint16_t port)
{
	struct sockaddr_in *in = (struct sockaddr_in *)storage;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)storage;
	struct sockaddr_un *un = (struct sockaddr_un *)storage;

	memset(storage, 0, sizeof(*storage));
	storage->ss_family = (sa_family_t)hosts[host].family;
	switch (hosts[host].family) {
	case AF_INET:
		in->sin_port = htons(port);
		inet_pton(AF_INET, hosts[host].host, &in->sin_addr);
		return sizeof(*in);
	case AF_INET6:
		in6->sin6_port = htons(port);
		inet_pton(AF_INET6, hosts[host].host, &in6->sin6_addr);
		return sizeof(*in6);
	default:
		return (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
				   (size_t)snprintf(
				       un->sun_path, sizeof(un->sun_path), "/client%d", port));
	}
}

static bool port_is_forbidden(const struct guard_rules *rules, uint16_t port)
{
	return port == 0 || port == OWN_PORT || (!rules->any_port && (port == 53 || port == 1900));
}

static bool is_muted(const struct mute *exchange)
{
	for (size_t i = 0; i < seen.mute_count; i++) {
		const struct mute *mute = &seen.mutes[i];

		if (mute->host == exchange->host && mute->port == exchange->port &&
		    mute->length == exchange->length && mute->until > seen.now &&
		    memcmp(mute->request, exchange->request, exchange->length) == 0)
			return true;
	}
	return false;
}

static bool is_ipv4(size_t host)
{
	return hosts[host].family == AF_INET || strncmp(hosts[host].host, "::ffff:", 7) == 0;
}

/* One datagram, and an answer to it if it gets so far. */
static void exchange(struct guard *guard, const struct guard_rules *rules,
    const struct own_ports *own, struct input *input)
{
	uint8_t way = input_byte(input);
	size_t host = way % HOSTS, port = input_byte(input) % PORTS;
	bool over_ipv6 = way / HOSTS % 2 == 1, muted, was_muted;
	struct mute exchange = { .host = host, .port = port, .length = 4 };
	struct sockaddr_storage from;
	socklen_t from_length = make_address(&from, host, ports[port]);
	struct peer peer;
	const struct datagram_route route = { .from = &peer,
		.name = hosts[host].family == AF_UNIX ? (struct sockaddr *)&from : NULL,
		.name_length = from_length,
		.to = over_ipv6 ? &in6addr_loopback : NULL };
	const uint8_t *request = input_bytes(input, &exchange.length);
	enum drop_reason reason;

	peer_set(&peer, (struct sockaddr *)&from, from_length);
	reason = guard_request(rules, own, &route);
	if (hosts[host].family != AF_UNIX &&
	    (hosts[host].bad || port_is_forbidden(rules, ports[port]) ||
		(over_ipv6 && is_ipv4(host)))) {
		require(reason != DROP_NOT);
		return;
	}
	require(reason == DROP_NOT);
	memcpy(exchange.request, request, exchange.length);
	was_muted = is_muted(&exchange);
	reason = guard_reply(guard, rules, &route, request, exchange.length, request,
	    exchange.length, seen.now, &muted);
	require(reason == DROP_RATE || (reason == DROP_REPEAT) == (was_muted || muted));
	require(!muted || !was_muted);
	if (muted && seen.mute_count < MUTES) {
		exchange.until = seen.now + MUTE_MS;
		seen.mutes[seen.mute_count++] = exchange;
	}
	if (reason == DROP_NOT && hosts[host].prefix != -1)
		seen.replies[hosts[host].prefix]++;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct own_ports own;
	struct input input = { data, data + size };
	const struct guard_rules rules = { .reply_rate = input_byte(&input) % 32,
		.reply_prefix = { 24, 56 },
		.any_port = input_byte(&input) & 1 };
	struct guard *guard = guard_new();

	require(guard != NULL);
	if (!own_ports_has(&own, OWN_PORT))
		own_ports_add(&own, OWN_PORT);
	memset(&seen, 0, sizeof(seen));
	seen.begin = seen.now = 1000000;
	while (input_left(&input) > 0 && seen.mute_count < MUTES) {
		uint8_t step = input_byte(&input);
		int repeats = 1 + (step & 31);

		/* Three bits of pause: none, or 4, 16, ... 16384 ms. */
		seen.now += step >> 5 == 0 ? 0 : INT64_C(1) << (2 * (step >> 5));
		for (struct input again = input; repeats > 0; repeats--) {
			again = input;
			exchange(guard, &rules, &own, &again);
			if (repeats == 1)
				input = again;
		}
	}
	for (int i = 0; i < PREFIXES && rules.reply_rate > 0; i++)
		require(seen.replies[i] <=
			rules.reply_rate + rules.reply_rate * (seen.now - seen.begin) / 1000);
	guard_free(guard);
	return 0;
}
