/*
 * The guards and their tables. All tables are set-associative and hashed with a secret key, so that an attacker
 * can neither choose a set nor make a table grow; each says which entry a full set gives up.
 */
#include "net/guard.h"

#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "core/siphash.h"
#include "net/endpoint.h"
#include "net/rate.h"

#define WAYS 8
#define SETS 512
#define REPEATS (SETS * WAYS) /* exchanges */
#define MUTES (SETS * WAYS)

#define SECOND_MS 1000
#define MS_NS 1000000

#define PACKET_BYTES 1472 /* of a reply that fit into an Ethernet frame */

/*
 * A loop between neighbours repeats at once, more than 20 times within a second. A loop over a long distance repeats
 * more than 45 times within half a minute. A monitor that sends the same bytes every second does neither.
 */
#define REPEATS_PER_SECOND 20
#define WINDOW_MS (30 * SECOND_MS)
#define REPEATS_PER_WINDOW 45
#define MUTE_MS (60 * SECOND_MS)

/* How often one exchange was seen within the last half minute. Times in ms. */
struct repeat {
	uint64_t exchange; /* a keyed hash of peer, request and reply */
	int64_t opened;    /* when its window began */
	uint16_t second;   /* after `opened`: when its last second began */
	uint8_t in_second; /* how often since then */
	uint8_t in_window; /* how often since `opened`; 0 = free */
};

struct mute {
	uint64_t exchange;
	int64_t until; /* ms; 0 = free */
};

/* What identifies an exchange; hashed as a whole. */
struct exchange_key {
	struct peer peer;        /* see struct muted_exchange */
	uint64_t request, reply; /* keyed hashes */
};

struct guard {
	struct siphash_key key;
	struct rates rates; /* of replies */
	struct repeat repeats[REPEATS];
	struct mute mutes[MUTES];
	struct muted_exchange muted[MUTES]; /* each of them, for guard_muted() */
	int64_t last_mute;                  /* ms: when the last of them ends */
};

const char *drop_reason_name(enum drop_reason reason)
{
	static const char *const names[DROP_REASONS] = {
		[DROP_NOT] = "passed",
		[DROP_SOURCE] = "source",
		[DROP_OWN_PORT] = "own_port",
		[DROP_RESPONDER] = "responder",
		[DROP_DENIED] = "denied",
		[DROP_ANSWER] = "answer",
		[DROP_RATE] = "rate",
		[DROP_REPEAT] = "repeat",
		[DROP_TRUNCATED] = "truncated",
		[DROP_UNNAMED] = "unnamed",
		[DROP_UNSENT] = "unsent",
	};

	return names[reason];
}

void own_ports_add(struct own_ports *ports, uint16_t port)
{
	ports->sockets[port]++;
}

void own_ports_remove(struct own_ports *ports, uint16_t port)
{
	ports->sockets[port]--;
}

bool own_ports_has(const struct own_ports *ports, uint16_t port)
{
	return ports->sockets[port] > 0;
}

struct guard *guard_new(void)
{
	struct guard *guard = calloc(1, sizeof(*guard));

	if (guard != NULL &&
	    (siphash_key_random(&guard->key) == -1 || rates_init(&guard->rates) == -1)) {
		free(guard); /* keeps errno since glibc 2.33 */
		return NULL;
	}
	return guard;
}

void guard_free(struct guard *guard)
{
	free(guard);
}

/* Multicast or broadcast; a subnet's own broadcast address does not show. */
static bool is_for_many(const struct in6_addr *address)
{
	return network_key_is_group(address) || network_key_is_broadcast(address);
}

enum drop_reason guard_request(const struct guard_rules *rules, const struct own_ports *own,
    const struct datagram_route *route)
{
	const struct peer *from = route->from;
	uint16_t port = from->port;

	if (!peer_is_ip(from))
		return DROP_NOT;
	if (port == 0 || IN6_IS_ADDR_UNSPECIFIED(&from->key) || is_for_many(&from->key) ||
	    (from->family == AF_INET && network_key_ipv4(&from->key) == INADDR_ANY))
		return DROP_SOURCE;
	/*
	 * An IPv4 source in a packet that was not sent to an IPv4 address: somebody has forged an IPv6 header with a
	 * source such as ::ffff:127.0.0.1. Linux drops such packets for TCP only.
	 */
	if (route->to != NULL && from->family == AF_INET && !IN6_IS_ADDR_V4MAPPED(route->to))
		return DROP_SOURCE;
	if (rules->receiver)
		return DROP_NOT;
	if (route->to != NULL && is_for_many(route->to))
		return DROP_SOURCE;
	if (own_ports_has(own, port))
		return DROP_OWN_PORT;
	/* Root's ports, SSDP, WS-Discovery, mDNS, memcached. */
	if (!rules->any_port && (port < IPPORT_RESERVED || port == 1900 || port == 3702 ||
				    port == 5353 || port == 11211))
		return DROP_RESPONDER;
	return DROP_NOT;
}

/* --- 5: the rate of a source --- */

static void charges_of(const struct guard *guard, const struct guard_rules *rules,
    const struct peer *peer, struct rate_charges *charges)
{
	const struct rate_limit limit = { .per_second = rules->reply_rate,
		.burst = rules->reply_rate,
		.prefixes = &rules->reply_prefix };

	charges->count = 0;
	if (rules->reply_rate != 0 && peer_is_ip(peer) && !network_key_is_loopback(&peer->key))
		rates_charges(&guard->rates, &limit, &peer->key, charges);
}

int64_t guard_rate_wait(const struct guard *guard, const struct guard_rules *rules,
    const struct peer *peer, int64_t now_ms)
{
	struct rate_charges charges;

	charges_of(guard, rules, peer, &charges);
	if (charges.count == 0)
		return -1;
	return (rates_wait(&guard->rates, &charges, now_ms) + MS_NS - 1) / MS_NS;
}

/* --- 6: the same exchange over and over --- */

static bool is_muted(const struct guard *guard, uint64_t exchange, int64_t now)
{
	const struct mute *set = &guard->mutes[exchange % SETS * WAYS];

	if (now >= guard->last_mute)
		return false;
	for (int i = 0; i < WAYS; i++)
		if (set[i].exchange == exchange && set[i].until > now)
			return true;
	return false;
}

/*
 * A full set gives up the mute that ends first. That exchange is muted again once it has been repeated as often as
 * before, so a loop gets only a few replies for each exchange that pushes it out.
 */
static void mute_exchange(struct guard *guard, uint64_t exchange, const struct exchange_key *key,
    const void *request, size_t length, int64_t now)
{
	size_t set = exchange % SETS * WAYS, first = set;
	struct muted_exchange *muted;

	for (size_t i = set + 1; i < set + WAYS; i++)
		if (guard->mutes[i].until < guard->mutes[first].until)
			first = i;
	guard->last_mute = now + MUTE_MS;
	guard->mutes[first] = (struct mute){ .exchange = exchange, .until = guard->last_mute };
	muted = &guard->muted[first];
	*muted = (struct muted_exchange){
		.peer = key->peer, .until = guard->last_mute, .length = length
	};
	memcpy(muted->request, request,
	    length < sizeof(muted->request) ? length : sizeof(muted->request));
}

static int repeats_of(const struct repeat *repeat, int64_t now)
{
	return now - repeat->opened < WINDOW_MS ? repeat->in_window : 0;
}

/*
 * Counts the exchange once more. True = that was once too often; its count then starts anew.
 *
 * A new exchange in a full set replaces the one that was seen least, so that exchanges seen once replace each other
 * and not a loop that is being counted. Among equals the hash chooses, not the age: otherwise nine loops that take
 * turns would each find that the eight others have replaced it.
 */
static bool count_repeat(struct guard *guard, uint64_t exchange, int64_t now)
{
	struct repeat *set = &guard->repeats[exchange % SETS * WAYS], *repeat = NULL;
	unsigned preferred = exchange >> 32, least = preferred % WAYS;
	uint16_t age;

	for (unsigned i = 0; i < WAYS && repeat == NULL; i++)
		if (set[i].exchange == exchange && repeats_of(&set[i], now) > 0)
			repeat = &set[i];
	if (repeat == NULL) {
		for (unsigned i = preferred + 1; i < preferred + WAYS; i++)
			if (repeats_of(&set[i % WAYS], now) < repeats_of(&set[least], now))
				least = i % WAYS;
		repeat = &set[least];
		*repeat = (struct repeat){ .exchange = exchange, .opened = now };
	}
	age = (uint16_t)(now - repeat->opened); /* below WINDOW_MS */
	if (age - repeat->second >= SECOND_MS) {
		repeat->second = age;
		repeat->in_second = 0;
	}
	repeat->in_second++;
	repeat->in_window++;
	if (repeat->in_second <= REPEATS_PER_SECOND && repeat->in_window <= REPEATS_PER_WINDOW)
		return false;
	repeat->in_window = 0;
	return true;
}

size_t guard_muted(const struct guard *guard, const struct peer *peer, int64_t now_ms,
    struct muted_exchange *to, size_t max)
{
	size_t count = 0;

	for (size_t i = 0; i < MUTES; i++) {
		const struct peer *muted = &guard->muted[i].peer;

		if (guard->mutes[i].until <= now_ms || muted->family != peer->family)
			continue;
		if (peer_is_ip(peer) && (!IN6_ARE_ADDR_EQUAL(&muted->key, &peer->key) ||
					    (peer->scope != 0 && peer->scope != muted->scope) ||
					    (peer->port != 0 && peer->port != muted->port)))
			continue;
		if (count < max)
			to[count] = guard->muted[i];
		count++;
	}
	return count;
}

/* --- both --- */

enum drop_reason guard_reply(struct guard *guard, const struct guard_rules *rules,
    const struct datagram_route *route, const void *request, size_t request_length,
    const void *reply, size_t reply_length, int64_t now_ms, bool *muted)
{
	struct exchange_key key = { .peer = *route->from };
	struct rate_charges charges;
	uint64_t exchange, name;

	*muted = false;
	charges_of(guard, rules, route->from, &charges);
	if (rates_wait(&guard->rates, &charges, now_ms) > 0)
		return DROP_RATE;
	if (route->name != NULL) {
		name = siphash13(&guard->key, route->name,
		    route->name_length < sizeof(struct sockaddr_un) ? route->name_length
								    : sizeof(struct sockaddr_un));
		memcpy(&key.peer.key, &name, sizeof(name));
	}
	key.request = siphash13(&guard->key, request, request_length);
	if (reply_length == request_length && memcmp(reply, request, reply_length) == 0)
		key.reply = key.request;
	else
		key.reply = siphash13(&guard->key, reply, reply_length);
	exchange = siphash13(&guard->key, &key, sizeof(key));
	if (is_muted(guard, exchange, now_ms))
		return DROP_REPEAT;
	if (count_repeat(guard, exchange, now_ms)) {
		mute_exchange(guard, exchange, &key, request, request_length, now_ms);
		*muted = true;
		return DROP_REPEAT;
	}
	/* A large reply is charged once per packet; the rate only needs to have room for the first. */
	rates_pay(&guard->rates, &charges,
	    reply_length == 0 ? 1 : (int64_t)((reply_length - 1) / PACKET_BYTES) + 1, now_ms);
	return DROP_NOT;
}
