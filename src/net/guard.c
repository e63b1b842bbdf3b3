/*
 * The guards and their three tables. All are set-associative and keyed by a secret, so that a
 * stranger can neither choose a set nor make the tables grow; what a full set gives up is said at
 * each.
 */
#include "net/guard.h"

#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "core/siphash.h"
#include "net/access.h"
#include "net/endpoint.h"

#define WAYS 8
#define BUCKET_SETS 512 /* 4096 prefixes */
#define REPEAT_SETS 512 /* 4096 exchanges */
#define MUTE_SETS 128   /* 1024 muted peers */

#define SECOND_MS 1000
#define REPLY_COST SECOND_MS /* so that a rate per second is what a millisecond forgives */
#define REPEATS_ALLOWED 20   /* within a second */
#define MUTE_MS (60 * SECOND_MS)

/* What a source prefix owes for replies; reply_rate of it is forgiven each millisecond. */
struct bucket {
	uint64_t prefix; /* see prefix_of(); 0 = nobody's */
	int64_t debt;
	int64_t settled; /* ms, when the debt was last worked out */
};

/* How often one exchange (peer, request, reply) was seen in the second since `opened`. */
struct repeat {
	uint64_t exchange; /* a keyed hash of all three */
	int64_t opened;    /* ms */
	int64_t count;     /* 0 = free */
};

/* A peer's address, comparable by its bytes. */
struct peer {
	socklen_t length;
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	};
};

struct mute {
	struct peer peer;
	int64_t until; /* ms; 0 = free */
};

struct guard {
	struct siphash_key key;
	struct bucket buckets[BUCKET_SETS][WAYS];
	struct repeat repeats[REPEAT_SETS][WAYS];
	struct mute mutes[MUTE_SETS][WAYS];
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

	if (guard != NULL && siphash_key_random(&guard->key) == -1) {
		free(guard); /* keeps errno since glibc 2.33 */
		return NULL;
	}
	return guard;
}

void guard_free(struct guard *guard)
{
	free(guard);
}

static uint32_t ipv4_of(const struct in6_addr *mapped)
{
	uint32_t address;

	memcpy(&address, &mapped->s6_addr[12], sizeof(address));
	return ntohl(address);
}

/* Multicast or broadcast; a subnet's own broadcast address does not show. */
static bool is_group(const struct in6_addr *address)
{
	if (!IN6_IS_ADDR_V4MAPPED(address))
		return IN6_IS_ADDR_MULTICAST(address);
	return IN_MULTICAST(ipv4_of(address)) || ipv4_of(address) == INADDR_BROADCAST;
}

static bool is_unspecified(const struct in6_addr *address)
{
	if (!IN6_IS_ADDR_V4MAPPED(address))
		return IN6_IS_ADDR_UNSPECIFIED(address);
	return ipv4_of(address) == INADDR_ANY;
}

static bool is_loopback(const struct in6_addr *address)
{
	if (!IN6_IS_ADDR_V4MAPPED(address))
		return IN6_IS_ADDR_LOOPBACK(address);
	return ipv4_of(address) >> 24 == IN_LOOPBACKNET;
}

/* SSDP, WS-Discovery, mDNS, memcached, and all that only root could open. */
static bool is_responder(uint16_t port)
{
	return port < IPPORT_RESERVED || port == 1900 || port == 3702 || port == 5353 ||
	       port == 11211;
}

static bool source_is_bad(const struct sockaddr *from, const struct in6_addr *address)
{
	return sockaddr_port(from) == 0 || is_unspecified(address) || is_group(address);
}

static bool target_is_group(const struct sockaddr *to)
{
	struct in6_addr address;

	return to != NULL && network_key(to, &address) && is_group(&address);
}

static void peer_set(struct peer *peer, const struct datagram_route *route)
{
	memset(peer, 0, sizeof(*peer));
	peer->length = route->from_length;
	if (peer->length > sizeof(peer->un))
		peer->length = sizeof(peer->un);
	memcpy(&peer->un, route->from, peer->length);
	peer->length = sockaddr_unmap(&peer->any, peer->length);
	/* What the sender is free to choose must not make it another peer. */
	if (peer->any.sa_family == AF_INET6)
		peer->in6.sin6_flowinfo = 0;
}

static uint64_t peer_hash(const struct guard *guard, const struct peer *peer)
{
	return siphash13(&guard->key, &peer->un, peer->length);
}

static bool peer_equal(const struct peer *a, const struct peer *b)
{
	return a->length == b->length && memcmp(&a->un, &b->un, a->length) == 0;
}

static bool is_muted(const struct guard *guard, const struct peer *peer, int64_t now)
{
	const struct mute *set = guard->mutes[peer_hash(guard, peer) % MUTE_SETS];

	for (int i = 0; i < WAYS; i++)
		if (set[i].until > now && peer_equal(&set[i].peer, peer))
			return true;
	return false;
}

/*
 * A full set gives up the mute that would end first. Its peer has to repeat itself as often again
 * to be muted again, so that even then a loop gets no more than a few replies for each peer that
 * pushes it out.
 */
static void mute(struct guard *guard, const struct peer *peer, int64_t now)
{
	struct mute *set = guard->mutes[peer_hash(guard, peer) % MUTE_SETS];
	struct mute *first = set;

	for (int i = 1; i < WAYS; i++)
		if (set[i].until < first->until)
			first = &set[i];
	first->peer = *peer;
	first->until = now + MUTE_MS;
}

enum drop_reason guard_request(const struct guard *guard, const struct guard_rules *rules,
    const struct own_ports *own, const struct datagram_route *route, int64_t now_ms)
{
	struct in6_addr source;
	struct peer peer;

	if (network_key(route->from, &source)) {
		uint16_t port = sockaddr_port(route->from);

		if (source_is_bad(route->from, &source))
			return DROP_SOURCE;
		if (rules->receiver)
			return DROP_NOT;
		if (target_is_group(route->to))
			return DROP_SOURCE;
		if (own_ports_has(own, port))
			return DROP_OWN_PORT;
		if (!rules->any_port && is_responder(port))
			return DROP_RESPONDER;
	}
	peer_set(&peer, route);
	return is_muted(guard, &peer, now_ms) ? DROP_REPEAT : DROP_NOT;
}

/* The /24 or /56 in the upper bytes and the family in the lowest, so that it is never 0. */
static uint64_t prefix_of(const struct in6_addr *source)
{
	uint64_t prefix = 0;

	if (IN6_IS_ADDR_V4MAPPED(source))
		return (uint64_t)(ipv4_of(source) >> 8) << 8 | AF_INET;
	for (int i = 0; i < 7; i++)
		prefix = prefix << 8 | source->s6_addr[i];
	return prefix << 8 | AF_INET6;
}

static void settle(struct bucket *bucket, int64_t rate, int64_t now)
{
	int64_t burst = rate * REPLY_COST, elapsed = now - bucket->settled;

	if (bucket->debt > burst) /* the rate was lowered */
		bucket->debt = burst;
	if (elapsed >= SECOND_MS || elapsed * rate >= bucket->debt)
		bucket->debt = 0;
	else
		bucket->debt -= elapsed * rate;
	bucket->settled = now;
}

/*
 * A prefix that has no bucket takes over the one of its set that owes least, with the debt on it.
 * Credit thus belongs to the way and not to the prefix: whatever sources are forged to push a
 * prefix out and let it in anew, the eight ways together never give more than eight times the
 * rate. And a prefix that has used up its bucket is the last to be pushed out of it, so that
 * alone it stays at the rate. Buckets that rest owe nothing; who takes one over starts with a
 * whole burst.
 */
static struct bucket *bucket_of(
    struct guard *guard, const struct in6_addr *source, int64_t rate, int64_t now)
{
	uint64_t prefix = prefix_of(source);
	uint64_t hash = siphash13(&guard->key, &prefix, sizeof(prefix));
	struct bucket *set = guard->buckets[hash % BUCKET_SETS];
	struct bucket *least = set;

	for (int i = 0; i < WAYS; i++) {
		settle(&set[i], rate, now);
		if (set[i].prefix == prefix)
			return &set[i];
		if (set[i].debt < least->debt)
			least = &set[i];
	}
	least->prefix = prefix;
	return least;
}

static bool over_rate(
    struct guard *guard, const struct guard_rules *rules, const struct sockaddr *from, int64_t now)
{
	struct in6_addr source;
	struct bucket *bucket;

	if (rules->reply_rate == 0 || !network_key(from, &source) || is_loopback(&source))
		return false;
	bucket = bucket_of(guard, &source, rules->reply_rate, now);
	if (bucket->debt + REPLY_COST > rules->reply_rate * REPLY_COST)
		return true;
	bucket->debt += REPLY_COST;
	return false;
}

/* Whether `a` is the lesser loss: over, or seen less often, or older. */
static bool repeat_is_less(const struct repeat *a, const struct repeat *b, int64_t now)
{
	int64_t a_count = now - a->opened < SECOND_MS ? a->count : 0;
	int64_t b_count = now - b->opened < SECOND_MS ? b->count : 0;

	return a_count != b_count ? a_count < b_count : a->opened < b->opened;
}

/*
 * Counts the exchange within the second that its first opened. In a full set it replaces the one
 * that was seen least: strangers who come once push each other out and not the loop that is being
 * counted.
 */
static int64_t count_repeat(struct guard *guard, uint64_t exchange, int64_t now)
{
	struct repeat *set = guard->repeats[exchange % REPEAT_SETS];
	struct repeat *repeat = set;

	for (int i = 0; i < WAYS; i++) {
		if (set[i].exchange == exchange) {
			repeat = &set[i];
			break;
		}
		if (repeat_is_less(&set[i], repeat, now))
			repeat = &set[i];
	}
	if (repeat->exchange != exchange || now - repeat->opened >= SECOND_MS)
		*repeat = (struct repeat){ .exchange = exchange, .opened = now };
	return ++repeat->count;
}

enum drop_reason guard_reply(struct guard *guard, const struct guard_rules *rules,
    const struct datagram_route *route, const void *request, size_t request_length,
    const void *reply, size_t reply_length, int64_t now_ms, bool *muted)
{
	struct peer peer;
	uint64_t hashes[3];

	*muted = false;
	if (over_rate(guard, rules, route->from, now_ms))
		return DROP_RATE;
	peer_set(&peer, route);
	if (is_muted(guard, &peer, now_ms))
		return DROP_REPEAT;
	hashes[0] = peer_hash(guard, &peer);
	hashes[1] = siphash13(&guard->key, request, request_length);
	hashes[2] = siphash13(&guard->key, reply, reply_length);
	if (count_repeat(guard, siphash13(&guard->key, hashes, sizeof(hashes)), now_ms) <=
	    REPEATS_ALLOWED)
		return DROP_NOT;
	mute(guard, &peer, now_ms);
	*muted = true;
	return DROP_REPEAT;
}
