/*
 * The way of a datagram: recvmmsg -> guards -> the service -> guards -> sendmmsg, one batch per turn.
 * Buffers hold the largest UDP payload; pages that no datagram has touched cost nothing.
 */
#include "net/datagram.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/clock.h"
#include "core/log.h"
#include "net/access.h"
#include "net/endpoint.h"
#include "net/guard.h"
#include "net/handlers.h"
#include "net/instance.h"
#include "net/loop.h"
#include "net/peer.h"
#include "net/settings.h"
#include "net/socket.h"

#define BATCH 32
#define PIECE 8        /* of a batch, received at once; then it may be the others' turn */
#define HALVINGS_MAX 3 /* down to pieces of one */
#define TURN_US 2000
#define BUFFER_SIZE 65536

/* Packet information of both families: a dual-stack socket gets both for an IPv4 packet. */
union packet_info {
	struct cmsghdr header;
	char space[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(struct in_pktinfo))];
};

struct datagram_batch {
	struct mmsghdr requests[BATCH], replies[BATCH];
	struct iovec request_bytes[BATCH], reply_bytes[BATCH];
	struct sockaddr_storage peers[BATCH];
	union packet_info request_info[BATCH], reply_info[BATCH];
	char request_buffers[BATCH][BUFFER_SIZE];
	char reply_buffers[BATCH][BUFFER_SIZE];
};

struct datagram_batch *datagram_batch_new(void)
{
	struct datagram_batch *b = calloc(1, sizeof(*b));

	for (int i = 0; b != NULL && i < BATCH; i++) {
		b->request_bytes[i] = (struct iovec){ b->request_buffers[i], BUFFER_SIZE };
		b->requests[i].msg_hdr = (struct msghdr){ .msg_name = &b->peers[i],
			.msg_iov = &b->request_bytes[i],
			.msg_iovlen = 1,
			.msg_control = &b->request_info[i] };
		b->reply_bytes[i] = (struct iovec){ b->reply_buffers[i], 0 };
		b->replies[i].msg_hdr =
		    (struct msghdr){ .msg_iov = &b->reply_bytes[i], .msg_iovlen = 1 };
	}
	return b;
}

/* Puts the key of the address that the peer sent to into *target, and makes the reply leave from that address. */
static void read_packet_info(struct msghdr *request, struct msghdr *reply, struct in6_addr *target)
{
	static const struct in_addr broadcast = { INADDR_BROADCAST };
	struct cmsghdr *header, *from = reply->msg_control;

	for (header = CMSG_FIRSTHDR(request); header != NULL;
	     header = CMSG_NXTHDR(request, header)) {
		if (header->cmsg_level == IPPROTO_IP && header->cmsg_type == IP_PKTINFO) {
			struct in_pktinfo info;

			memcpy(&info, CMSG_DATA(header), sizeof(info));
			/* Only a subnet's broadcast address differs from the local address here. */
			network_key_map(target, info.ipi_addr.s_addr == info.ipi_spec_dst.s_addr ||
							IN_MULTICAST(ntohl(info.ipi_addr.s_addr))
						    ? &info.ipi_addr
						    : &broadcast);
			info.ipi_ifindex = 0;
			info.ipi_addr.s_addr = 0;
			*from = *header;
			memcpy(CMSG_DATA(from), &info, sizeof(info));
			reply->msg_controllen = CMSG_SPACE(sizeof(info));
			break; /* the IPv6 information would hide a broadcast */
		}
		if (header->cmsg_level == IPPROTO_IPV6 && header->cmsg_type == IPV6_PKTINFO) {
			struct in6_pktinfo info;

			memcpy(&info, CMSG_DATA(header), sizeof(info));
			*target = info.ipi6_addr;
			if (!IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
				info.ipi6_ifindex = 0;
			*from = *header;
			memcpy(CMSG_DATA(from), &info, sizeof(info));
			reply->msg_controllen = CMSG_SPACE(sizeof(info));
		}
	}
	if (reply->msg_controllen == 0)
		reply->msg_control = NULL;
}

/*
 * Serves the request at that place of the batch, and puts its reply behind the others. `target` is the key of the
 * socket's address; the packet information knows it better if that is a wildcard. DROP_NOT: the reply, if the service
 * gives any, can be sent.
 */
static enum drop_reason datagram_serve(struct instance *instance, struct datagram_batch *b,
    unsigned at, unsigned replies, struct in6_addr target, int64_t now)
{
	struct msghdr *request = &b->requests[at].msg_hdr, *reply = &b->replies[replies].msg_hdr;
	const struct datagram datagram = { b->request_buffers[at], b->requests[at].msg_len,
		request->msg_name, request->msg_namelen };
	struct peer peer;
	struct datagram_route route = { .from = &peer, .to = &target };
	enum drop_reason reason;
	char text[ADDRESS_TEXT_MAX];
	ssize_t length;
	bool muted;

	instance->counters.bytes_in += datagram.length;
	peer_set(&peer, datagram.from, datagram.from_length);
	if (peer.family == AF_UNIX) {
		route.name = datagram.from;
		route.name_length = datagram.from_length;
	}
	reply->msg_name = request->msg_name;
	reply->msg_namelen = request->msg_namelen;
	reply->msg_control = &b->reply_info[replies];
	reply->msg_controllen = 0;
	read_packet_info(request, reply, &target);
	if (request->msg_flags & MSG_TRUNC)
		return DROP_TRUNCATED;
	reason = guard_request(&instance->guard_rules, instance->loop->own_ports, &route);
	if (reason != DROP_NOT)
		return reason;
	if (!access_allows(&instance->settings->allow, &instance->settings->deny, &peer))
		return DROP_DENIED;
	length = instance->handlers->datagram == NULL
		     ? -1
		     : instance->handlers->datagram(
			   instance, &datagram, b->reply_buffers[replies], BUFFER_SIZE);
	if (instance->guard_rules.receiver)
		return DROP_NOT;
	if (length == -1)
		return DROP_ANSWER;
	if (datagram.from_length <= sizeof(sa_family_t))
		return DROP_UNNAMED;
	b->reply_bytes[replies].iov_len = (size_t)length;
	reason = guard_reply(instance->guard, &instance->guard_rules, &route, datagram.bytes,
	    datagram.length, b->reply_buffers[replies], (size_t)length, now, &muted);
	if (muted)
		log_limited(&instance->drop_lines, LOG_LEVEL_INFO,
		    "%s %s: muted for 60 s: the same request and answer over and over",
		    instance->name,
		    sockaddr_format(datagram.from, datagram.from_length, text, sizeof(text)));
	return reason;
}

static void send_replies(
    struct instance *instance, int fd, struct datagram_batch *b, unsigned count)
{
	unsigned at = 0;

	while (at < count) {
		int sent = sendmmsg(fd, &b->replies[at], count - at, MSG_DONTWAIT), error = errno;
		const struct msghdr *unsent = &b->replies[at].msg_hdr;
		char peer[ADDRESS_TEXT_MAX];

		for (int i = 0; i < sent; i++)
			instance->counters.bytes_out += b->replies[at++].msg_len;
		if (sent > 0) {
			instance->counters.datagrams_out += (unsigned)sent;
		} else if (sent == 0 || error != EINTR) {
			/* The error belongs to this peer only: the rest of the batch is sent. */
			instance->counters.drops[DROP_UNSENT]++;
			log_limited(&instance->drop_lines, LOG_LEVEL_INFO,
			    "%s %s: cannot send the reply: %s", instance->name,
			    sockaddr_format(
				unsent->msg_name, unsent->msg_namelen, peer, sizeof(peer)),
			    strerror(error));
			at++;
		}
	}
}

/*
 * Receives the datagrams that wait, up to a batch, and stops when that has lasted long: a datagram may be dear to
 * answer, such as 64 KiB of JSON. Pieces become smaller while such datagrams arrive.
 */
void datagrams_receive(struct instance *instance, const struct bound_socket *socket, int *halvings)
{
	struct datagram_batch *b = instance->loop->batch;
	int piece = PIECE >> *halvings, received;
	int64_t begun = clock_us(), now = begun;
	struct in6_addr target = in6addr_any;
	unsigned at = 0, replies = 0;

	sockaddr_key(&socket->endpoint.any, &target);
	do {
		for (unsigned i = at; i < at + (unsigned)piece; i++) {
			b->requests[i].msg_hdr.msg_namelen = sizeof(b->peers[i]);
			b->requests[i].msg_hdr.msg_controllen = sizeof(b->request_info[i]);
		}
		received =
		    recvmmsg(socket->fd, &b->requests[at], (unsigned)piece, MSG_DONTWAIT, NULL);
		for (int i = 0; i < received; i++) {
			enum drop_reason reason =
			    datagram_serve(instance, b, at++, replies, target, now / 1000);

			instance->counters.drops[reason]++;
			if (reason == DROP_NOT && !instance->guard_rules.receiver)
				replies++;
		}
		now = clock_us();
	} while (received == piece && at < BATCH && now - begun < TURN_US);
	instance->counters.datagrams_in += at;
	send_replies(instance, socket->fd, b, replies);
	if (now - begun >= TURN_US && *halvings < HALVINGS_MAX)
		++*halvings;
	else if (now - begun<TURN_US && * halvings> 0)
		--*halvings;
}
