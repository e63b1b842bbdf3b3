/* Accepting: a bounded number per turn, each past the rules and limits of the instance. */
#include "net/listener.h"

#include <errno.h>
#include <event2/event.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "net/datagram.h"
#include "net/instance.h"
#include "net/loop.h"
#include "net/stream.h"

#define ACCEPTS_PER_TURN 16

/* Address and length of whoever is at the other end. */
struct peer {
	union {
		struct sockaddr any;
		struct sockaddr_storage storage;
	};
	socklen_t length;
};

static bool queues(const struct instance *instance)
{
	return instance->settings->on_limit == ON_LIMIT_QUEUE && instance_is_full(instance);
}

static void log_refusal(
    struct instance *instance, const struct peer *peer, enum close_reason reason)
{
	char text[ADDRESS_TEXT_MAX];

	log_limited(&instance->closed_lines, LOG_LEVEL_INFO,
	    "%s %s: closed: %s (0 B in, 0 B out, 0 ms)", instance->name,
	    peer_format(&peer->any, peer->length, text, sizeof(text)), close_reason_name(reason));
}

/* The client's way in: rules, limits, then it is a stream. */
static void admit(struct listener *listener, int fd, const struct peer *peer)
{
	struct instance *instance = listener->instance;

	if (!access_allows(&instance->settings->allow, &instance->settings->deny, &peer->any)) {
		instance->counters.closed[CLOSE_DENIED]++;
		log_refusal(instance, peer, CLOSE_DENIED);
		close(fd);
	} else if (instance_is_full(instance) ||
		   source_enter(&instance->sources, &peer->any, instance->max_per_source) == -1) {
		stream_refuse(instance, listener, fd, &peer->any, peer->length);
	} else {
		stream_open(instance, listener, fd, &peer->any, peer->length);
	}
}

static bool is_out_of_descriptors(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM;
}

static void accept_cb(evutil_socket_t fd, short events, void *arg)
{
	struct listener *listener = arg;

	(void)events;
	for (int i = 0; i < ACCEPTS_PER_TURN; i++) {
		struct peer peer = { .length = sizeof(peer.storage) };
		int client;

		if (queues(listener->instance)) {
			listener_pause(listener);
			return;
		}
		client = accept4(fd, &peer.any, &peer.length, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (client == -1) {
			if (is_out_of_descriptors(errno))
				loop_out_of_descriptors(listener->loop, fd, errno);
			/* Anything else is the client's trouble: it left the queue already. */
			return;
		}
		loop_accepted(listener->loop);
		peer.length = sockaddr_unmap(&peer.any, peer.length);
		admit(listener, client, &peer);
	}
}

static void datagram_cb(evutil_socket_t fd, short events, void *arg)
{
	(void)fd;
	(void)events;
	datagram_receive(arg);
}

/* UDP ports are known to the guards: what comes from one of them is our own answer. */
static void claim_port(
    struct listener *listener, void (*claim)(struct own_ports *ports, uint16_t port))
{
	const struct endpoint *endpoint = &listener->socket.endpoint;

	if (endpoint->transport == TRANSPORT_UDP)
		claim(listener->loop->own_ports, endpoint_port(endpoint));
}

struct listener *listener_new(struct loop *loop, const struct endpoint *wanted,
    const struct socket_options *options, char *why, size_t why_size)
{
	struct listener *listener = calloc(1, sizeof(*listener));

	if (listener == NULL) {
		snprintf(why, why_size, "out of memory");
		return NULL;
	}
	listener->loop = loop;
	listener->wanted = *wanted;
	listener->options = *options;
	if (socket_open(&listener->socket, wanted, options, why, why_size) == -1) {
		int saved = errno;

		free(listener);
		errno = saved;
		return NULL;
	}
	claim_port(listener, own_ports_add);
	return listener;
}

int listener_start(struct listener *listener, struct instance *instance)
{
	bool stream = transport_is_stream(listener->wanted.transport);

	if (!stream && instance->guard == NULL && (instance->guard = guard_new()) == NULL)
		return -1;
	if (listener->instance != NULL)
		TAILQ_REMOVE(&listener->instance->listeners, listener, entry);
	listener->instance = instance;
	TAILQ_INSERT_TAIL(&instance->listeners, listener, entry);
	if (listener->event == NULL)
		listener->event = event_new(instance->loop->base, listener->socket.fd,
		    EV_READ | EV_PERSIST, stream ? accept_cb : datagram_cb, listener);
	return listener->event == NULL ? -1 : event_add(listener->event, NULL);
}

void listener_free(struct listener *listener)
{
	if (listener == NULL)
		return;
	if (listener->instance != NULL)
		TAILQ_REMOVE(&listener->instance->listeners, listener, entry);
	if (listener->event != NULL)
		event_free(listener->event);
	claim_port(listener, own_ports_remove);
	socket_close(&listener->socket);
	free(listener);
}

void listener_pause(struct listener *listener)
{
	if (transport_is_stream(listener->wanted.transport))
		event_del(listener->event);
}

void listener_resume(struct listener *listener)
{
	if (!queues(listener->instance) && !event_pending(listener->event, EV_READ, NULL))
		event_add(listener->event, NULL);
}
