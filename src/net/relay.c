/* Our end of the socketpair is read and written straight from and to the buffers of the stream. */
#include "net/relay.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/event.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/sockios.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/strings.h"
#include "net/child.h"
#include "net/endpoint.h"
#include "net/instance.h"
#include "net/loop.h"
#include "net/program.h"
#include "net/stream.h"

#define READ_PER_TURN (64u * 1024)

struct relay {
	struct stream *client;
	struct child *child; /* NULL once the program has ended */
	bool over;           /* its output has ended */
	int fd;              /* our end */
	int queued; /* bytes of the program's input in the kernel, at the last relay_busy() */
	struct event *readable, *writable;
	struct evbuffer *output; /* of the program, on its way to the client */
};

static struct relay *relay_of(struct stream *client)
{
	return ((struct relay_client *)stream_state(client))->relay;
}

/* --- from the program to the client --- */

static void relay_readable_cb(evutil_socket_t fd, short events, void *arg)
{
	struct relay *r = arg;
	struct evbuffer_iovec space;
	ssize_t n = -1;

	(void)events;
	if (!stream_has_room(r->client)) {
		event_del(r->readable); /* until relay_writable() */
		return;
	}
	errno = ENOMEM;
	if (evbuffer_reserve_space(r->output, READ_PER_TURN, &space, 1) == 1) {
		n = recv(fd, space.iov_base, space.iov_len, MSG_DONTWAIT);
		space.iov_len = n > 0 ? (size_t)n : 0;
		if (n > 0 && evbuffer_commit_space(r->output, &space, 1) == -1)
			n = -1;
	}
	if (n > 0) {
		stream_send(r->client, r->output, VERDICT_CONTINUE);
	} else if (n == 0 || errno != EAGAIN || r->child == NULL) {
		/* A program that ended with input unread shows as a reset; others may still hold its end. */
		r->over = true;
		event_del(r->readable);
		event_del(r->writable);
		stream_send(r->client, r->output, VERDICT_CLOSE);
	}
}

static void relay_ended_cb(void *owner)
{
	struct relay *r = owner;

	r->child = NULL;
	if (event_pending(r->readable, EV_READ, NULL))
		event_active(r->readable, EV_READ, 0);
}

enum verdict relay_writable(struct stream *client, struct evbuffer *out)
{
	const struct relay *r = relay_of(client);

	(void)out;
	event_add(r->readable, NULL);
	if (r->child == NULL)
		event_active(r->readable, EV_READ, 0);
	return VERDICT_CONTINUE;
}

/* --- from the client to the program --- */

static void relay_writable_cb(evutil_socket_t fd, short events, void *arg)
{
	struct relay *r = arg;

	(void)fd;
	(void)events;
	stream_resume(r->client);
}

enum verdict relay_bytes(struct stream *client, struct evbuffer *in, struct evbuffer *out)
{
	const struct relay *r = relay_of(client);

	(void)out;
	if (evbuffer_write(in, r->fd) == -1 && errno != EAGAIN && errno != EINTR)
		evbuffer_drain(
		    in, evbuffer_get_length(in)); /* it has closed its input, but may still write */
	if (evbuffer_get_length(in) > 0)
		event_add(r->writable, NULL);
	return VERDICT_CONTINUE;
}

bool relay_busy(struct stream *client)
{
	struct relay *r = relay_of(client);
	struct pollfd program = { .fd = r->fd, .events = POLLIN };
	int queued = 0, before = r->queued;

	ioctl(r->fd, SIOCOUTQ, &queued);
	r->queued = queued;
	/* On the first call there is nothing to compare with, so pending input counts as progress. */
	return (queued > 0 && before == 0) || queued < before || poll(&program, 1, 0) > 0;
}

enum verdict relay_eof(struct stream *client, struct evbuffer *out)
{
	(void)out;
	shutdown(relay_of(client)->fd, SHUT_WR);
	return VERDICT_CONTINUE;
}

/* --- beginning and end --- */

/* The program on its end of the socketpair. */
static int relay_start_program(
    struct relay *r, const struct strings *command, int64_t timeout, const char *label, int fd)
{
	struct strings environment = { 0 };
	char path[PATH_MAX];
	const struct child_options options = {
		.path = path,
		.arguments = command,
		.environment = &environment,
		.fd = fd,
		.label = label,
		.timeout = timeout,
		.ended = relay_ended_cb,
		.owner = r,
	};

	if (program_find(command->items[0], path, sizeof(path)) == 0 &&
	    program_environment(&environment, r->client) == 0)
		r->child = child_start(stream_instance(r->client), &options);
	int saved = errno;

	strings_clear(&environment);
	errno = saved;
	return r->child == NULL ? -1 : 0;
}

static int relay_join(
    struct relay *r, const struct strings *command, int64_t timeout, const char *label)
{
	struct event_base *base = stream_instance(r->client)->loop->base;
	int ends[2], result = -1, saved;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == -1)
		return -1;
	r->fd = ends[0];
	r->output = evbuffer_new();
	r->readable = event_new(base, r->fd, EV_READ | EV_PERSIST, relay_readable_cb, r);
	r->writable = event_new(base, r->fd, EV_WRITE, relay_writable_cb, r);
	/* Only our end does not block: a program expects to wait for its input. */
	if (r->output != NULL && r->readable != NULL && r->writable != NULL &&
	    fcntl(r->fd, F_SETFL, O_NONBLOCK) == 0 && event_add(r->readable, NULL) == 0)
		result = relay_start_program(r, command, timeout, label, ends[1]);
	saved = errno;
	close(ends[1]);
	errno = saved;
	return result;
}

enum verdict relay_start(struct stream *client, const struct strings *command, int64_t timeout_ms)
{
	struct instance *instance = stream_instance(client);
	struct relay *r = calloc(1, sizeof(*r));
	char peer[ADDRESS_TEXT_MAX], label[2 * ADDRESS_TEXT_MAX];

	peer_format(stream_peer(client), peer, sizeof(peer));
	snprintf(label, sizeof(label), "%s %s", instance->name, peer);
	((struct relay_client *)stream_state(client))->relay = r;
	if (r != NULL) {
		r->client = client;
		r->fd = -1;
		if (relay_join(r, command, timeout_ms, label) == 0)
			return VERDICT_CONTINUE;
	}
	instance->failed_programs++;
	log_limited(&instance->service_lines, LOG_LEVEL_ERROR, "%s: cannot start %s: %s", label,
	    command->items[0], strerror(errno));
	relay_close(client);
	return VERDICT_CLOSE;
}

void relay_close(struct stream *client)
{
	struct relay_client *state = stream_state(client);
	struct relay *r = state->relay;

	state->relay = NULL;
	if (r == NULL)
		return;
	if (r->child != NULL && r->over)
		child_release(r->child);
	else if (r->child != NULL)
		child_leave(r->child);
	loop_free_event(r->readable);
	loop_free_event(r->writable);
	if (r->output != NULL)
		evbuffer_free(r->output);
	if (r->fd != -1)
		close(r->fd);
	free(r);
}
