/*
 * How a stream begins and ends: streams are created here, and every path ends in stream_end(), with one close
 * reason. stream.c moves the bytes, and stream_deadline.c ends the streams that take too long.
 */
#include "net/stream.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "net/client.h"
#include "net/endpoint.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/stream_parts.h"

#define REFUSED_MAX 128 /* clients that linger with a refusal */
#define LIMIT_KEY_MAX 192

static const char *const reason_names[CLOSE_REASONS] = {
	[CLOSE_CLIENT_EOF] = "client_eof",
	[CLOSE_QUIT] = "quit",
	[CLOSE_IDLE] = "idle",
	[CLOSE_RESET] = "reset",
	[CLOSE_LIMIT] = "limit",
	[CLOSE_DENIED] = "denied",
	[CLOSE_SLOW_READER] = "slow_reader",
	[CLOSE_PROTOCOL] = "protocol",
	[CLOSE_SHUTDOWN] = "shutdown",
	[CLOSE_RELOAD] = "reload",
};

const char *close_reason_name(enum close_reason reason)
{
	return reason_names[reason];
}

bool close_reason_is_bad(enum close_reason reason)
{
	return reason == CLOSE_LIMIT || reason == CLOSE_DENIED || reason == CLOSE_SLOW_READER ||
	       reason == CLOSE_PROTOCOL;
}

/* --- the end of a stream --- */

static void log_closed(struct instance *instance, const struct client *client)
{
	enum log_level level = close_reason_is_bad((enum close_reason)client->reason)
				   ? LOG_LEVEL_INFO
				   : LOG_LEVEL_DEBUG;
	char peer[ADDRESS_TEXT_MAX], key[LIMIT_KEY_MAX] = "";

	if (!log_enabled(level))
		return;
	if (client->limit != LIMIT_NONE)
		instance_limit_key(instance, (enum limit)client->limit, key, sizeof(key));
	log_limited(&instance->closed_lines, level,
	    "%s %s: closed: %s (%" PRIu64 " B in, %" PRIu64 " B out, %" PRId64 " ms)%s%s",
	    instance->name, peer_format(&client->peer, peer, sizeof(peer)),
	    reason_names[client->reason], client->bytes_in, client->bytes_out,
	    client->left - client->opened, *key == '\0' ? "" : ": over ", key);
}

static void remember_closed(struct instance *instance, const struct client *client, bool refused)
{
	if (!instance->handlers
		 ->administers) /* otherwise a monitor's connections would fill the list */
		*clients_left_add(&instance->loop->clients_left, refused) = *client;
}

static void leave_counts(struct stream *s)
{
	struct loop *loop = s->instance->loop;

	if (loop->left != NULL)
		event_active(loop->left, 0, 0);
	if (s->refused) {
		loop->refused--;
		return;
	}
	source_leave(&s->instance->sources, &s->peer);
	s->instance->stream_count--;
	loop_left(loop);
}

bool stream_count_gone(struct stream *s)
{
	uint64_t gone = s->bytes_made - evbuffer_get_length(bufferevent_get_output(s->bev));
	bool moved = gone != s->bytes_gone;

	s->instance->counters.bytes_out += gone - s->bytes_gone;
	s->bytes_gone = gone;
	if (moved)
		s->looked = false;
	return moved;
}

void stream_forget_answered(struct stream *s)
{
	if (!s->answered)
		return;
	TAILQ_REMOVE(&s->instance->loop->answered, s, answered_entry);
	s->answered = false;
}

void stream_end(struct stream *s, enum close_reason reason)
{
	struct instance *instance = s->instance;
	evutil_socket_t fd = bufferevent_getfd(s->bev);
	struct client client;

	stream_count_gone(s);
	stream_describe(s, &client);
	client.left = clock_ms();
	client.reason = reason;
	client.limit = s->limit;
	remember_closed(instance, &client, s->refused);
	if (s->handlers->close != NULL && !s->refused)
		s->handlers->close(s);
	instance->counters.closed[reason]++;
	log_closed(instance, &client);
	deadline_cancel(instance->loop->deadlines, &s->deadline);
	if (instance->loop->judged == s)
		instance->loop->judged = NULL;
	client_walks_pass_stream(instance->loop, s);
	stream_forget_answered(s);
	TAILQ_REMOVE(&instance->streams, s, entry);
	lines_clear(&s->lines);
	/* Out of epoll first: the descriptor is closed here and now, not on a later pass (#712). */
	bufferevent_disable(s->bev, EV_READ | EV_WRITE);
	bufferevent_free(s->bev);
	close(fd);
	leave_counts(s);
	free(s);
}

void stream_linger(struct stream *s)
{
	if (s->eof) {
		stream_end(s, s->reason);
		return;
	}
	if (!s->lingering) {
		s->lingering = true;
		s->moved = clock_ms();
		shutdown(bufferevent_getfd(s->bev), SHUT_WR);
		stream_file_deadline(s, s->moved);
	}
}

/* --- the beginning of a stream --- */

static struct stream *stream_new(struct instance *instance, int fd, const struct peer *peer)
{
	struct stream *s = calloc(1, sizeof(*s) + instance->handlers->conn_size);

	if (s == NULL)
		return NULL;
	s->bev = bufferevent_socket_new(instance->loop->base, fd, 0);
	if (s->bev == NULL) {
		free(s);
		return NULL;
	}
	s->instance = instance;
	s->handlers = instance->handlers;
	s->opened = s->active = clock_ms();
	s->id = ++instance->loop->last_id;
	s->peer = *peer;
	s->telnet = instance->lines != NULL && instance->lines->telnet && s->peer.family != AF_UNIX;
	stream_attach(s);
	TAILQ_INSERT_TAIL(&instance->streams, s, entry);
	return s;
}

static void out_of_memory(struct instance *instance, int fd)
{
	log_limited(&instance->closed_lines, LOG_LEVEL_ERROR,
	    "%s: out of memory for a client, which is closed", instance->name);
	instance->counters.closed[CLOSE_LIMIT]++;
	instance->counters.refused[LIMIT_MEMORY]++;
	close(fd);
}

void stream_open(
    struct instance *instance, struct listener *listener, int fd, const struct peer *peer)
{
	struct stream *s = stream_new(instance, fd, peer);
	enum verdict verdict = VERDICT_CONTINUE;

	if (s == NULL) {
		source_leave(&instance->sources, peer);
		out_of_memory(instance, fd);
		return;
	}
	s->listener = listener;
	instance->counters.accepted++;
	instance->stream_count++;
	instance->loop->streams++;
	stream_file_deadline(s, s->opened);
	s->producing = s->handlers->room != NULL;
	if (s->handlers->open != NULL)
		verdict = s->handlers->open(s, bufferevent_get_output(s->bev));
	s->bytes_made = evbuffer_get_length(bufferevent_get_output(s->bev));
	stream_settle(s, verdict);
}

void stream_turn_away(struct instance *instance, int fd, const struct peer *peer,
    enum close_reason reason, enum limit limit)
{
	const int64_t now = clock_ms();
	struct client client = {
		.opened = now, .active = now, .left = now, .reason = reason, .limit = limit
	};

	close(fd);
	instance->counters.closed[reason]++;
	snprintf(client.service, sizeof(client.service), "%s", instance->name);
	client.peer = *peer;
	remember_closed(instance, &client, true);
	log_closed(instance, &client);
}

void stream_refuse(struct instance *instance, struct listener *listener, int fd,
    const struct peer *peer, enum limit limit)
{
	const char *refusal = instance->handlers->refusal;
	struct stream *s = NULL;

	instance->counters.refused[limit]++;
	if (instance->loop->refused < REFUSED_MAX)
		s = stream_new(instance, fd, peer);
	if (s == NULL) {
		stream_turn_away(instance, fd, peer, CLOSE_LIMIT, limit);
		return;
	}
	s->listener = listener;
	s->refused = true;
	s->limit = (uint8_t)limit;
	instance->loop->refused++;
	if (refusal != NULL)
		evbuffer_add(bufferevent_get_output(s->bev), refusal, strlen(refusal));
	s->bytes_made = evbuffer_get_length(bufferevent_get_output(s->bev));
	stream_begin_close(s, CLOSE_LIMIT);
	stream_flush(s);
}

/* --- the streams of an instance, and a stream as others see it --- */

void streams_drain(struct instance *instance, enum close_reason reason)
{
	struct stream *s, *next;

	for (s = TAILQ_FIRST(&instance->streams); s != NULL; s = next) {
		next = TAILQ_NEXT(s, entry);
		stream_drain(s, reason);
	}
}

void streams_leave(
    struct instance *instance, const struct listener *listener, enum close_reason reason)
{
	struct stream *s, *next;

	for (s = TAILQ_FIRST(&instance->streams); s != NULL; s = next) {
		next = TAILQ_NEXT(s, entry);
		if (s->listener != listener)
			continue;
		s->listener = NULL;
		stream_drain(s, reason);
	}
}

void streams_move(struct instance *instance, const struct listener *from, struct listener *to)
{
	struct stream *s;

	TAILQ_FOREACH (s, &instance->streams, entry)
		if (s->listener == from)
			s->listener = to;
}

void streams_keepalive(const struct instance *instance, const struct listener *listener)
{
	const struct stream *s;

	TAILQ_FOREACH (s, &instance->streams, entry)
		if (s->listener == listener)
			socket_set_keepalive(
			    bufferevent_getfd(s->bev), listener->options.keepalive);
}

void streams_abort(struct instance *instance, enum close_reason reason)
{
	struct stream *s;

	while ((s = TAILQ_FIRST(&instance->streams)) != NULL)
		stream_end(s, reason);
}

void streams_count_sources(struct instance *instance)
{
	const struct prefixes *prefixes = &instance->settings->source_prefix;
	struct sources *sources = &instance->sources;
	struct stream *s;

	if (sources->prefixes.ipv4 == prefixes->ipv4 && sources->prefixes.ipv6 == prefixes->ipv6)
		return;
	sources_clear(sources);
	sources->prefixes = *prefixes;
	/* A client stays even if there is no memory to count it. */
	TAILQ_FOREACH (s, &instance->streams, entry)
		if (!s->refused)
			source_enter(sources, &s->peer, INT32_MAX);
}

void streams_recheck(struct instance *instance)
{
	const struct instance_settings *settings = instance->settings;
	int64_t now = clock_ms();
	struct stream *s, *next;

	for (s = TAILQ_FIRST(&instance->streams); s != NULL; s = next) {
		next = TAILQ_NEXT(s, entry);
		if (!access_allows(&settings->allow, &settings->deny, &s->peer))
			stream_end(s, CLOSE_DENIED);
		else
			stream_file_deadline(s, now);
	}
}

struct stream *stream_find(const struct loop *loop, uint64_t id)
{
	struct instance *instance;
	struct stream *s;

	TAILQ_FOREACH (instance, &loop->instances, entry)
		TAILQ_FOREACH (s, &instance->streams, entry)
			if (s->id == id)
				return s;
	return NULL;
}

struct stream *stream_next(const struct stream *s)
{
	return TAILQ_NEXT(s, entry);
}

void stream_describe(const struct stream *s, struct client *client)
{
	*client = (struct client){ .id = s->id,
		.peer = s->peer,
		.opened = s->opened,
		.active = s->active,
		.bytes_in = s->bytes_in,
		.bytes_out = s->bytes_gone,
		.unsent = s->bytes_made - s->bytes_gone };
	snprintf(client->service, sizeof(client->service), "%s", s->instance->name);
}

int stream_credentials(const struct stream *s, struct ucred *credentials)
{
	socklen_t length = sizeof(*credentials);

	return getsockopt(bufferevent_getfd(s->bev), SOL_SOCKET, SO_PEERCRED, credentials, &length);
}

void stream_kill(struct stream *s)
{
	stream_end(s, CLOSE_DENIED);
}

socklen_t stream_local(const struct stream *s, struct sockaddr_storage *local)
{
	socklen_t length = sizeof(*local);

	if (getsockname(bufferevent_getfd(s->bev), (struct sockaddr *)local, &length) == -1)
		return 0;
	return sockaddr_unmap((struct sockaddr *)local, length);
}

void *stream_state(struct stream *s)
{
	return s->state;
}

struct instance *stream_instance(const struct stream *s)
{
	return s->instance;
}

const struct peer *stream_peer(const struct stream *s)
{
	return &s->peer;
}
