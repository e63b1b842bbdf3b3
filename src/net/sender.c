/*
 * A timer, what is known of each address that is sent to, and one socket per address family for unicast, broadcast
 * and multicast: the interface is chosen for each datagram. Nothing is ever read from the sockets.
 */
#include "net/sender.h"

#include <errno.h>
#include <event2/event.h>
#include <net/if.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "net/endpoint.h"
#include "net/instance.h"
#include "net/lookup.h"
#include "net/loop.h"
#include "net/multicast.h"
#include "net/socket.h"

enum { SOCKET_IPV4, SOCKET_IPV6, SOCKET_UNIX, SOCKETS };

/* Room for either family's packet information. */
union packet_info {
	struct cmsghdr header;
	char space[CMSG_SPACE(sizeof(struct in6_pktinfo))];
};

/* One address of the config. */
struct target {
	struct sender *sender;
	const struct address *address;
	struct endpoints endpoints; /* none = it has to be resolved */
	struct lookup *lookup;      /* NULL = none runs */
	bool works;
	char trouble[128]; /* as last logged; "" = there was none yet */
};

struct sender {
	struct instance *instance;
	struct sender_settings settings;
	struct event *timer;
	int64_t due;            /* ms, the round that is waited for */
	int sockets[SOCKETS];   /* -1 = nothing of the family was sent yet */
	struct target *targets; /* NULL = to be made from the settings */
	char payload[SENDER_PAYLOAD_MAX];
};

const char *sender_refuses(const struct address *address, const char *interface)
{
	if (transport_is_stream(address->transport))
		return "only datagrams are sent, by udp:// or unixgram://";
	if (transport_is_unix(address->transport))
		return NULL;
	if (address->host == NULL)
		return "* is no destination";
	if (address->port == 0)
		return "port 0 is no destination";
	if (interface == NULL && multicast_needs_interface(address))
		return "a link-local address needs an interface: add the key interface, or write "
		       "it behind a %, [fe80::1%eth0]";
	return NULL;
}

/* --- sending --- */

/* The socket for that family, opened when the first datagram of the family is sent. -1 with errno. */
static int sender_socket(struct sender *sender, int family)
{
	int *fd = &sender->sockets[family == AF_INET    ? SOCKET_IPV4
				   : family == AF_INET6 ? SOCKET_IPV6
							: SOCKET_UNIX];
	int ttl = sender->settings.ttl, result = 0, saved;

	if (*fd != -1)
		return *fd;
	if ((*fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)) == -1)
		return -1;
	if (family == AF_INET6)
		result = socket_set_int(*fd, IPPROTO_IPV6, IPV6_MULTICAST_HOPS, ttl);
	else if (family == AF_INET &&
		 (result = socket_set_int(*fd, SOL_SOCKET, SO_BROADCAST, 1)) == 0)
		result = socket_set_int(*fd, IPPROTO_IP, IP_MULTICAST_TTL, ttl);
	if (result == -1) {
		saved = errno;
		close(*fd);
		*fd = -1;
		errno = saved;
	}
	return *fd;
}

/* Makes the message leave by the interface, past the routing table. */
static void use_interface(
    struct msghdr *message, union packet_info *space, int family, unsigned interface)
{
	const struct in_pktinfo ipv4 = { .ipi_ifindex = (int)interface };
	const struct in6_pktinfo ipv6 = { .ipi6_ifindex = interface };
	bool is_ipv6 = family == AF_INET6;
	size_t size = is_ipv6 ? sizeof(ipv6) : sizeof(ipv4);

	space->header = (struct cmsghdr){ .cmsg_len = CMSG_LEN(size),
		.cmsg_level = is_ipv6 ? IPPROTO_IPV6 : IPPROTO_IP,
		.cmsg_type = is_ipv6 ? IPV6_PKTINFO : IP_PKTINFO };
	memcpy(CMSG_DATA(&space->header), is_ipv6 ? (const void *)&ipv6 : &ipv4, size);
	message->msg_control = space;
	message->msg_controllen = CMSG_SPACE(size);
}

/* Sends that many bytes of the payload to one machine, a group, or, as broadcast, to all. 0, or -1 with errno. */
static int sender_send(struct sender *sender, const struct endpoint *to, size_t length)
{
	/* [::ffff:224.0.0.1] is an IPv4 group, which the options of an IPv6 socket do not apply to. */
	struct endpoint peer = *to;
	struct iovec vector = { sender->payload, length };
	struct msghdr message = { .msg_name = &peer.any,
		.msg_namelen = sockaddr_unmap(&peer.any, peer.length),
		.msg_iov = &vector,
		.msg_iovlen = 1 };
	union packet_info space;
	int fd = sender_socket(sender, peer.any.sa_family);

	if (fd == -1)
		return -1;
	if (sender->settings.interface != NULL && multicast_uses_interface(&peer.any) &&
	    (peer.any.sa_family != AF_INET6 || peer.in6.sin6_scope_id == 0)) {
		unsigned interface = if_nametoindex(sender->settings.interface);

		if (interface == 0)
			return -1;
		use_interface(&message, &space, peer.any.sa_family, interface);
	}
	return sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL) == -1 ? -1 : 0;
}

static void report_failure(struct target *target, const char *why)
{
	target->sender->instance->counters.drops[DROP_UNSENT]++;
	target->works = false;
	if (strcmp(target->trouble, why) == 0)
		return;
	snprintf(target->trouble, sizeof(target->trouble), "%s", why);
	log_limited(&target->sender->instance->drop_lines, LOG_LEVEL_WARNING,
	    "%s: cannot send to %s: %s; tried again at every interval",
	    target->sender->instance->name, target->address->text, why);
}

/* Sends to every endpoint that the address stands for; one that works is enough. */
static void target_send(struct target *target)
{
	struct sender *sender = target->sender;
	struct counters *counters = &sender->instance->counters;
	size_t length =
	    sender->settings.payload(sender->instance, sender->payload, sizeof(sender->payload));
	unsigned sent = 0;
	int error = 0;

	for (size_t i = 0; i < target->endpoints.count; i++) {
		if (sender_send(sender, &target->endpoints.items[i], length) == 0)
			sent++;
		else
			error = errno;
	}
	counters->datagrams_out += sent;
	counters->bytes_out += sent * length;
	if (sent == 0) {
		report_failure(target, strerror(error));
		endpoints_clear(
		    &target->endpoints); /* the name may stand for another address by now */
	} else if (!target->works) {
		log_limited(&sender->instance->drop_lines, LOG_LEVEL_INFO, "%s: sending to %s%s",
		    sender->instance->name, target->address->text,
		    target->trouble[0] == '\0' ? "" : " again");
		target->works = true;
		target->trouble[0] = '\0';
	}
}

/* --- resolving --- */

static void found_cb(void *arg, struct endpoints *found, const char *why)
{
	struct target *target = arg;

	target->lookup = NULL;
	target->endpoints = *found;
	if (found->count > 0)
		target_send(target);
	else
		report_failure(target, why);
}

/* Forgets the targets and closes the sockets. */
static void sender_clear(struct sender *sender)
{
	for (size_t i = 0; sender->targets != NULL && i < sender->settings.to->count; i++) {
		lookup_cancel(sender->targets[i].lookup);
		endpoints_clear(&sender->targets[i].endpoints);
	}
	free(sender->targets);
	sender->targets = NULL;
	for (int i = 0; i < SOCKETS; i++) {
		if (sender->sockets[i] != -1)
			close(sender->sockets[i]);
		sender->sockets[i] = -1;
	}
}

/* --- the rounds --- */

static void send_round(struct sender *sender)
{
	const struct addresses *to = sender->settings.to;
	const char *why;

	if (sender->targets == NULL &&
	    (sender->targets = calloc(to->count, sizeof(*sender->targets))) == NULL) {
		log_error("%s: out of memory, nothing is sent", sender->instance->name);
		return;
	}
	for (size_t i = 0; i < to->count; i++) {
		struct target *target = &sender->targets[i];

		target->sender = sender;
		target->address = &to->items[i];
		if (target->lookup != NULL)
			continue; /* found_cb() will send */
		if (target->endpoints.count == 0 && target->address->is_name) {
			target->lookup = lookup_start(
			    sender->instance->loop->base, target->address, found_cb, target);
			if (target->lookup == NULL)
				report_failure(target, strerror(errno));
		} else if (target->endpoints.count == 0 &&
			   endpoints_resolve(&target->endpoints, target->address, &why) == -1) {
			report_failure(target, why);
		} else {
			target_send(target);
		}
	}
}

static int wait_for_round(struct sender *sender)
{
	int64_t wait = sender->due - clock_ms();
	struct timeval tv = { 0 };

	if (wait > 0)
		tv = (struct timeval){ .tv_sec = wait / 1000, .tv_usec = wait % 1000 * 1000 };
	return event_add(sender->timer, &tv);
}

static void round_cb(evutil_socket_t fd, short events, void *arg)
{
	struct sender *sender = arg;
	int64_t interval = sender->settings.interval, late;

	(void)fd;
	(void)events;
	send_round(sender);
	sender->due += interval;
	late = clock_ms() - sender->due;
	/* The process or the machine has slept: rounds that were missed stay missed. */
	if (late >= 0)
		sender->due += (late / interval + 1) * interval;
	if (wait_for_round(sender) == -1)
		log_error("%s: out of memory for the timer", sender->instance->name);
}

struct sender *sender_new(struct instance *instance, const struct sender_settings *settings)
{
	struct sender *sender = calloc(1, sizeof(*sender));

	if (sender == NULL)
		return NULL;
	sender->instance = instance;
	sender->settings = *settings;
	sender->due = clock_ms();
	for (int i = 0; i < SOCKETS; i++)
		sender->sockets[i] = -1;
	sender->timer = evtimer_new(instance->loop->base, round_cb, sender);
	if (sender->timer == NULL || wait_for_round(sender) == -1) {
		sender_free(sender);
		return NULL;
	}
	return sender;
}

void sender_configure(struct sender *sender, const struct sender_settings *settings)
{
	sender_clear(sender);
	sender->due += settings->interval - sender->settings.interval;
	sender->settings = *settings;
	if (wait_for_round(sender) == -1)
		log_error("%s: out of memory for the timer", sender->instance->name);
}

const char *sender_trouble(const struct sender *sender, size_t n)
{
	const struct target *target;

	if (sender->targets == NULL || n >= sender->settings.to->count)
		return NULL;
	target = &sender->targets[n];
	return target->works || target->trouble[0] == '\0' ? NULL : target->trouble;
}

void sender_free(struct sender *sender)
{
	if (sender == NULL)
		return;
	sender_clear(sender);
	loop_free_event(sender->timer);
	free(sender);
}
