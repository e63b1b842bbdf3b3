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
#include "net/endpoint.h"
#include "net/instance.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/peer.h"

#define BATCH 32
#define PIECE 8       /* of a batch, received at once; then it may be the others' turn */
#define CAUTION_MAX 3 /* pieces of one */
#define TURN_US 2000
#define BUFFER_SIZE 65536

/* Room for the packet information of both families: a dual-stack socket gets both for an IPv4 packet. */
union packet_info {
	struct cmsghdr header;
	char space[CMSG_SPACE(sizeof(struct in6_pktinfo)) + CMSG_SPACE(sizeof(struct in_pktinfo))];
};

struct datagram_batch {
	struct mmsghdr requests[BATCH], replies[BATCH];
	struct iovec request_bytes[BATCH], reply_bytes[BATCH];
	struct sockaddr_storage peers[BATCH];
	union packet_info asked[BATCH], answered[BATCH];
	char request_buffers[BATCH][BUFFER_SIZE];
	char reply_buffers[BATCH][BUFFER_SIZE];
};

struct datagram_batch *datagram_batch_new(void)
{
	return calloc(1, sizeof(struct datagram_batch));
}

void datagram_batch_free(struct datagram_batch *batch)
{
	free(batch);
}

/* One request of the batch on its way through. */
struct exchange {
	struct listener *listener;
	struct msghdr *request, *reply;
	size_t length;
	struct peer peer;
	struct in6_addr asked; /* the key of the address that it was sent to */
	bool asked_known;
	int64_t now;
};

static void reset_requests(struct datagram_batch *b)
{
	for (int i = 0; i < BATCH; i++) {
		b->request_bytes[i] = (struct iovec){ b->request_buffers[i], BUFFER_SIZE };
		b->requests[i].msg_hdr = (struct msghdr){ .msg_name = &b->peers[i],
			.msg_namelen = sizeof(b->peers[i]),
			.msg_iov = &b->request_bytes[i],
			.msg_iovlen = 1,
			.msg_control = &b->asked[i],
			.msg_controllen = sizeof(b->asked[i]) };
	}
}

static void answer_from_ipv4(struct exchange *x, const struct cmsghdr *told)
{
	static const struct in_addr broadcast = { INADDR_BROADCAST };
	struct cmsghdr *source = x->reply->msg_control;
	struct in_pktinfo info;

	memcpy(&info, CMSG_DATA(told), sizeof(info));
	/* A subnet's broadcast address is told only by its not being the local one. */
	network_key_map(&x->asked, info.ipi_addr.s_addr == info.ipi_spec_dst.s_addr ||
					   IN_MULTICAST(ntohl(info.ipi_addr.s_addr))
				       ? &info.ipi_addr
				       : &broadcast);
	x->asked_known = true;
	info.ipi_ifindex = 0;
	info.ipi_addr.s_addr = 0;
	*source = *told;
	memcpy(CMSG_DATA(source), &info, sizeof(info));
	x->reply->msg_controllen = CMSG_SPACE(sizeof(info));
}

static void answer_from_ipv6(struct exchange *x, const struct cmsghdr *told)
{
	struct cmsghdr *source = x->reply->msg_control;
	struct in6_pktinfo info;

	memcpy(&info, CMSG_DATA(told), sizeof(info));
	x->asked = info.ipi6_addr;
	x->asked_known = true;
	if (!IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr))
		info.ipi6_ifindex = 0;
	*source = *told;
	memcpy(CMSG_DATA(source), &info, sizeof(info));
	x->reply->msg_controllen = CMSG_SPACE(sizeof(info));
}

/* Reads which address was asked, and makes the reply leave from it. */
static void read_asked(struct exchange *x)
{
	struct cmsghdr *told;

	x->reply->msg_controllen = 0;
	for (told = CMSG_FIRSTHDR(x->request); told != NULL; told = CMSG_NXTHDR(x->request, told)) {
		if (told->cmsg_level == IPPROTO_IP && told->cmsg_type == IP_PKTINFO) {
			answer_from_ipv4(x, told);
			break; /* the IPv6 information would hide a broadcast */
		}
		if (told->cmsg_level == IPPROTO_IPV6 && told->cmsg_type == IPV6_PKTINFO)
			answer_from_ipv6(x, told);
	}
	if (x->reply->msg_controllen == 0)
		x->reply->msg_control = NULL;
}

static bool is_unnamed(const struct msghdr *request)
{
	return request->msg_namelen <= sizeof(sa_family_t);
}

static void log_muted(struct instance *instance, const struct datagram *request)
{
	char peer[ADDRESS_TEXT_MAX];

	log_limited(&instance->drop_lines, LOG_LEVEL_INFO,
	    "%s %s: muted for 60 s: the same request and answer over and over", instance->name,
	    sockaddr_format(request->from, request->from_length, peer, sizeof(peer)));
}

struct guard_rules datagram_rules(const struct instance *instance)
{
	const struct datagram_settings *settings = instance->datagrams;

	if (settings == NULL)
		return (struct guard_rules){ .receiver =
						 (instance->handlers->flags & HANDLERS_RECEIVE) };
	return (struct guard_rules){ .any_port = settings->reply_ports == REPLY_PORTS_ANY,
		.reply_rate = settings->reply_rate,
		.reply_prefix = settings->reply_prefix,
		.receiver = (instance->handlers->flags & HANDLERS_RECEIVE) };
}

/* The whole way of one request; DROP_NOT when its reply, if the service gives any, is ready to be sent. */
static enum drop_reason serve(struct exchange *x)
{
	struct instance *instance = x->listener->instance;
	const struct guard_rules rules = datagram_rules(instance);
	const struct datagram request = { x->request->msg_iov->iov_base, x->length,
		x->request->msg_name, x->request->msg_namelen };
	const struct datagram_route route = { .from = &x->peer,
		.name = x->peer.family == AF_UNIX ? request.from : NULL,
		.name_length = request.from_length,
		.to = &x->asked };
	enum drop_reason reason;
	ssize_t length;
	bool muted;

	if (x->request->msg_flags & MSG_TRUNC)
		return DROP_TRUNCATED;
	reason = guard_request(&rules, x->listener->loop->own_ports, &route);
	if (reason != DROP_NOT)
		return reason;
	if (!access_allows(&instance->settings->allow, &instance->settings->deny, &x->peer))
		return DROP_DENIED;
	length = instance->handlers->datagram(
	    instance, &request, x->reply->msg_iov->iov_base, BUFFER_SIZE);
	if ((instance->handlers->flags & HANDLERS_RECEIVE))
		return DROP_NOT;
	if (length == -1)
		return DROP_ANSWER;
	if (is_unnamed(x->request))
		return DROP_UNNAMED;
	x->reply->msg_iov->iov_len = (size_t)length;
	reason = guard_reply(instance->guard, &rules, &route, request.bytes, request.length,
	    x->reply->msg_iov->iov_base, (size_t)length, x->now, &muted);
	if (muted)
		log_muted(instance, &request);
	return reason;
}

/* A reply that its peer's socket refuses concerns that peer only; the rest of the batch goes on. */
static void count_unsent(struct listener *listener, const struct msghdr *reply, int error)
{
	struct instance *instance = listener->instance;
	char peer[ADDRESS_TEXT_MAX];

	instance->counters.drops[DROP_UNSENT]++;
	log_limited(&instance->drop_lines, LOG_LEVEL_INFO, "%s %s: cannot send the reply: %s",
	    instance->name,
	    sockaddr_format(reply->msg_name, reply->msg_namelen, peer, sizeof(peer)),
	    strerror(error));
}

static void send_replies(struct listener *listener, struct datagram_batch *b, unsigned count)
{
	struct counters *counters = &listener->instance->counters;
	unsigned at = 0;

	while (at < count) {
		int sent = sendmmsg(listener->socket.fd, &b->replies[at], count - at, MSG_DONTWAIT);

		if (sent <= 0) {
			if (sent == -1 && errno == EINTR)
				continue;
			count_unsent(listener, &b->replies[at].msg_hdr, errno);
			at++;
			continue;
		}
		for (int i = 0; i < sent; i++)
			counters->bytes_out += b->replies[at + (unsigned)i].msg_len;
		counters->datagrams_out += (unsigned)sent;
		at += (unsigned)sent;
	}
}

/* Serves the request at that place of the batch; true when its reply lies behind the others. */
static bool receive_one(
    struct listener *listener, struct datagram_batch *b, unsigned at, unsigned replies)
{
	struct counters *counters = &listener->instance->counters;
	struct exchange x = { .listener = listener,
		.request = &b->requests[at].msg_hdr,
		.reply = &b->replies[replies].msg_hdr,
		.length = b->requests[at].msg_len,
		.now = clock_ms() };
	enum drop_reason reason;

	b->reply_bytes[replies] = (struct iovec){ b->reply_buffers[replies], 0 };
	*x.reply = (struct msghdr){ .msg_name = x.request->msg_name,
		.msg_namelen = x.request->msg_namelen,
		.msg_iov = &b->reply_bytes[replies],
		.msg_iovlen = 1,
		.msg_control = &b->answered[replies] };
	peer_set(&x.peer, x.request->msg_name, x.request->msg_namelen);
	read_asked(&x);
	/* A socket that is bound to one address gets no packet information: its address is the target. */
	if (!x.asked_known && !sockaddr_key(&listener->socket.endpoint.any, &x.asked))
		x.asked = in6addr_any;
	counters->datagrams_in++;
	counters->bytes_in += x.length;
	reason = serve(&x);
	counters->drops[reason]++;
	return reason == DROP_NOT && !(listener->instance->handlers->flags & HANDLERS_RECEIVE);
}

/*
 * What waits, up to a batch, but no more of it when that has taken its time: a datagram may be dear to
 * answer, such as 64 KiB of JSON. Where such ones come, the next piece is smaller.
 */
void datagram_receive(struct listener *listener)
{
	struct datagram_batch *b = listener->loop->batch;
	int piece = PIECE >> listener->caution, received;
	int64_t begun = clock_us(), took;
	unsigned at = 0, replies = 0;

	reset_requests(b);
	do {
		received = recvmmsg(
		    listener->socket.fd, &b->requests[at], (unsigned)piece, MSG_DONTWAIT, NULL);
		for (int i = 0; i < received; i++)
			replies += receive_one(listener, b, at++, replies);
		took = clock_us() - begun;
	} while (received == piece && at < BATCH && took < TURN_US);
	send_replies(listener, b, replies);
	if (took >= TURN_US && listener->caution < CAUTION_MAX)
		listener->caution++;
	else if (took < TURN_US && listener->caution > 0)
		listener->caution--;
}
