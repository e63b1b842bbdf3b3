/* The life of a listener; a group waits for its network. */
#include "net/listener.h"

#include <errno.h>
#include <event2/event.h>
#include <net/if.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/inherited.h"
#include "net/datagram.h"
#include "net/instance.h"
#include "net/loop.h"
#include "net/multicast.h"
#include "net/stream.h"

#define WATCH_SECONDS 2 /* of a multicast group's network */

const struct endpoint *listener_endpoint(const struct listener *listener)
{
	return listener->socket.fd == -1 ? &listener->wanted : &listener->socket.endpoint;
}

static void datagram_cb(evutil_socket_t fd, short events, void *arg)
{
	struct listener *listener = arg;

	(void)fd;
	(void)events;
	if (listener->instance == NULL) { /* its reload waits; the kernel keeps what arrives */
		event_del(listener->event);
		return;
	}
	datagrams_receive(listener->instance, &listener->socket, &listener->halvings);
}

/* The guards know the UDP ports of our sockets: a datagram from one of them is our own answer. */
static void claim_port(
    struct listener *listener, void (*claim)(struct own_ports *ports, uint16_t port))
{
	const struct endpoint *endpoint = &listener->socket.endpoint;

	if (endpoint->transport == TRANSPORT_UDP)
		claim(listener->loop->own_ports, endpoint_port(endpoint));
}

/* 0, or -1 with errno and the error. */
static int listener_open_socket(struct listener *listener, struct error *error)
{
	int result = socket_open(&listener->socket, &listener->wanted, &listener->options, error);

	if (result == 0)
		claim_port(listener, own_ports_add);
	return result;
}

static void listener_close_socket(struct listener *listener)
{
	acceptor_stop(&listener->acceptor);
	loop_free_event(listener->event);
	listener->event = NULL;
	if (listener->socket.fd == -1)
		return;
	claim_port(listener, own_ports_remove);
	socket_close(&listener->socket);
}

/* Accepts clients or receives datagrams as soon as it has an instance. 0, or -1 when out of memory. */
static int listener_serve(struct listener *listener)
{
	struct loop *loop = listener->loop;

	if (transport_is_stream(listener->wanted.transport))
		return acceptor_start(
		    &listener->acceptor, listener, loop->acceptors, listener->socket.fd);
	if (loop->batch == NULL && (loop->batch = datagram_batch_new()) == NULL)
		return -1;
	listener->event =
	    event_new(loop->base, listener->socket.fd, EV_READ | EV_PERSIST, datagram_cb, listener);
	return listener->event == NULL ? -1 : event_add(listener->event, NULL);
}

static void log_listening(const struct listener *listener)
{
	char text[ADDRESS_TEXT_MAX];

	log_info("%s: listening on %s", listener->instance->name,
	    endpoint_format(&listener->socket.endpoint, text, sizeof(text)));
}

/* Opens the socket of a group, or joins it again, when its network has come back. */
static void watch_cb(evutil_socket_t fd, short events, void *arg)
{
	const struct timeval pause = { .tv_sec = WATCH_SECONDS };
	struct listener *listener = arg;
	bool lost = socket_has_lost_group(&listener->socket, listener->options.interface), opens;
	char text[ADDRESS_TEXT_MAX];
	struct error error;
	int result = 0;

	(void)fd;
	(void)events;
	if (listener->instance == NULL) {
		event_add(listener->watch, &pause);
		return;
	}
	if (lost && listener->inherited == NULL)
		listener_close_socket(listener);
	opens = listener->socket.fd == -1;
	if (opens) {
		result = listener_open_socket(listener, &error);
	} else if (lost) { /* the service manager's socket, which we cannot open anew */
		result = socket_join_again(&listener->socket, listener->options.interface);
		if (result == -1)
			error_errno(&error, "cannot join %s",
			    endpoint_format(&listener->wanted, text, sizeof(text)));
	}
	if (result == -1) {
		if (error.code != listener->absent)
			log_warning("%s: %s; tried again every %d s", listener->instance->name,
			    error.text, WATCH_SECONDS);
		listener->absent = error.code;
	} else if (opens || lost) {
		listener->absent = 0;
		if (opens && listener_serve(listener) == -1)
			listener_close_socket(listener);
		else
			log_listening(listener);
	}
	if (listener->socket.fd == -1 || listener->socket.interface != 0)
		event_add(listener->watch, &pause);
}

/* All that serving needs, but for the instance: listener_start() cannot fail. */
static int listener_prepare(struct listener *listener)
{
	const struct timeval at_once = { 0 };

	if (endpoint_is_group(&listener->wanted)) {
		listener->watch = evtimer_new(listener->loop->base, watch_cb, listener);
		if (listener->watch == NULL || event_add(listener->watch, &at_once) == -1)
			return -1;
	}
	return listener->socket.fd == -1 ? 0 : listener_serve(listener);
}

/* Without a socket; NULL with the error. */
static struct listener *listener_make(struct loop *loop, const struct endpoint *wanted,
    const struct socket_options *options, struct error *error)
{
	struct listener *listener = calloc(1, sizeof(*listener));

	if (listener == NULL) {
		error_memory(error);
		return NULL;
	}
	listener->loop = loop;
	listener->wanted = *wanted;
	listener->protocol = wanted->protocol;
	listener->options = *options;
	listener->socket.fd = -1;
	return listener;
}

struct listener *listener_new(struct loop *loop, const struct endpoint *wanted,
    const struct socket_options *options, struct error *error)
{
	struct listener *listener = listener_make(loop, wanted, options, error);
	int saved;

	if (listener == NULL)
		return NULL;
	if (listener_open_socket(listener, error) == -1 &&
	    !(endpoint_is_group(wanted) && multicast_is_absent(errno)))
		goto fail;
	if (listener_prepare(listener) == 0)
		return listener;
	error_memory(error);
fail:
	saved = errno;
	listener_free(listener);
	errno = saved;
	return NULL;
}

struct listener *listener_absent(struct loop *loop, const struct endpoint *wanted,
    const struct socket_options *options, int reason, struct error *error)
{
	struct listener *listener = listener_make(loop, wanted, options, error);

	if (listener != NULL)
		listener->absent = reason;
	return listener;
}

bool listener_needs_socket(const struct listener *listener)
{
	/* A group opens one when there is a network. */
	return (listener->socket.fd == -1 || !socket_is_reachable(&listener->socket)) &&
	       !endpoint_is_group(&listener->wanted);
}

struct listener *listener_dry_run(struct loop *loop, const struct endpoint *wanted,
    const struct socket_options *options, struct error *error)
{
	if (socket_probe(wanted, options, error) == -1)
		return NULL;
	return listener_make(loop, wanted, options, error);
}

struct listener *listener_adopt(struct loop *loop, struct inherited_socket *inherited,
    const char *interface_name, struct error *error)
{
	struct listener *listener = calloc(1, sizeof(*listener));

	if (listener == NULL) {
		error_memory(error);
		return NULL;
	}
	if (socket_adopt(&listener->socket, inherited->fd, interface_name, error) == -1) {
		free(listener);
		return NULL;
	}
	inherited->fd = -1;
	listener->loop = loop;
	listener->wanted = listener->socket.endpoint;
	snprintf(
	    listener->options.interface, sizeof(listener->options.interface), "%s", interface_name);
	listener->inherited = inherited;
	claim_port(listener, own_ports_add);
	if (listener_prepare(listener) == 0)
		return listener;
	error_memory(error);
	listener_free(listener);
	return NULL;
}

/* Applies a changed keepalive to the listener and all its clients; inherited sockets have none at first. */
static void listener_set_keepalive(struct listener *listener, const struct instance *instance)
{
	int wanted = instance_keepalive(instance->settings);

	if (listener->wanted.transport != TRANSPORT_TCP || listener->socket.fd == -1 ||
	    (listener->options.keepalive == wanted &&
		(listener->inherited == NULL || listener->instance != NULL)))
		return;
	if (socket_set_keepalive(listener->socket.fd, wanted) == -1)
		log_warning("%s: cannot set keepalive: %s", instance->name, strerror(errno));
	listener->options.keepalive = wanted;
	listener->acceptor.older = socket_queue_length(listener->socket.fd);
	listener->acceptor.keepalive = wanted;
	streams_keepalive(instance, listener, wanted);
}

void listener_start(struct listener *listener, struct instance *instance)
{
	const struct wire_protocol *now = &listener->wanted.protocol, *next = &listener->protocol;
	bool is_new =
	    listener->instance != instance || now->resp != next->resp || now->tls != next->tls;
	char text[ADDRESS_TEXT_MAX];

	listener_set_keepalive(listener, instance);
	if (listener->instance != NULL)
		TAILQ_REMOVE(&listener->instance->listeners, listener, entry);
	listener->instance = listener->acceptor.instance = instance;
	listener->wanted.protocol = listener->socket.endpoint.protocol = listener->protocol;
	TAILQ_INSERT_TAIL(&instance->listeners, listener, entry);
	if (listener->socket.fd == -1 && !endpoint_is_group(&listener->wanted))
		log_warning("%s: cannot bind %s: %s; the other addresses of its name are served, "
			    "and a reload tries this one again",
		    instance->name, endpoint_format(&listener->wanted, text, sizeof(text)),
		    strerror(listener->absent));
	else if (listener->socket.fd != -1 && is_new)
		log_listening(listener);
	/* datagram_cb() has removed it if datagrams arrived before. */
	if (listener->event != NULL && event_add(listener->event, NULL) == -1)
		log_error("%s: cannot receive at %s: out of memory", instance->name,
		    endpoint_format(listener_endpoint(listener), text, sizeof(text)));
}

void listener_free(struct listener *listener)
{
	if (listener == NULL)
		return;
	if (listener->instance != NULL)
		TAILQ_REMOVE(&listener->instance->listeners, listener, entry);
	loop_free_event(listener->watch);
	listener_close_socket(listener);
	free(listener);
}
