/* Streams as others see them: all those of an instance or of the loop, what is known of one, and the record of its end. */
#include "net/stream.h"

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "core/clock.h"
#include "net/access.h"
#include "net/admission.h"
#include "net/client.h"
#include "net/instance.h"
#include "net/loop.h"
#include "net/settings.h"
#include "net/socket.h"
#include "net/stream_parts.h"
#include "net/tls_identity.h"

#define LIMIT_KEY_MAX 192

/* --- an iterator --- */

static void iterate_over(struct client_iterator *iterator, struct instance *instance)
{
	iterator->instance = instance;
	iterator->next = instance == NULL ? NULL : TAILQ_FIRST(&instance->streams);
}

void client_iterator_begin(struct client_iterator *iterator, struct loop *loop)
{
	iterate_over(iterator, TAILQ_FIRST(&loop->instances));
	LIST_INSERT_HEAD(&loop->iterators, iterator, entry);
}

struct stream *client_iterator_next(struct client_iterator *iterator)
{
	struct stream *stream;

	while (iterator->next == NULL && iterator->instance != NULL)
		iterate_over(iterator, TAILQ_NEXT(iterator->instance, entry));
	stream = iterator->next;
	if (stream != NULL)
		iterator->next = TAILQ_NEXT(stream, entry);
	return stream;
}

void client_iterator_end(struct client_iterator *iterator)
{
	LIST_REMOVE(iterator, entry);
}

void client_iterators_pass_instance(struct loop *loop, const struct instance *instance)
{
	struct client_iterator *iterator;

	LIST_FOREACH (iterator, &loop->iterators, entry)
		if (iterator->instance == instance)
			iterate_over(iterator, TAILQ_NEXT(iterator->instance, entry));
}

/* --- all of an instance --- */

/* Those of a listener; NULL = all. A request that is answered may end other clients. */
static void drain_streams(
    struct instance *instance, const struct listener *listener, enum close_reason reason)
{
	struct client_iterator iterator = { .next = TAILQ_FIRST(&instance->streams) };
	struct stream *s;

	LIST_INSERT_HEAD(&instance->loop->iterators, &iterator, entry);
	while ((s = client_iterator_next(&iterator)) != NULL) {
		if (listener != NULL && s->listener != listener)
			continue;
		if (listener != NULL)
			s->listener = NULL;
		stream_drain(s, reason);
	}
	client_iterator_end(&iterator);
}

void streams_drain(struct instance *instance, enum close_reason reason)
{
	drain_streams(instance, NULL, reason);
}

void streams_leave(
    struct instance *instance, const struct listener *listener, enum close_reason reason)
{
	drain_streams(instance, listener, reason);
}

void streams_move(struct instance *instance, const struct listener *from, struct listener *to)
{
	struct stream *s;

	TAILQ_FOREACH (s, &instance->streams, entry)
		if (s->listener == from)
			s->listener = to;
}

void streams_keepalive(
    const struct instance *instance, const struct listener *listener, int seconds)
{
	const struct stream *s;

	TAILQ_FOREACH (s, &instance->streams, entry)
		if (s->listener == listener)
			socket_set_keepalive(s->channel.fd, seconds);
}

void streams_abort(struct instance *instance, enum close_reason reason)
{
	struct stream *s;

	while ((s = TAILQ_FIRST(&instance->streams)) != NULL)
		stream_end(s, reason);
}

/* Applies the source_prefix of the settings; if it has changed, counts all clients anew. */
static void streams_count_sources(struct instance *instance)
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
		if (!s->refused && !s->unknown)
			source_enter(sources, &s->peer, INT32_MAX);
}

/* The address at the other end of the socket. */
static const struct peer *neighbour(const struct stream *s)
{
	return s->proxy.family == 0 ? &s->peer : &s->proxy;
}

/* Whether the rules that hold now let it stay. */
static bool may_stay(const struct stream *s)
{
	const struct instance_settings *settings = s->instance->settings;

	if (admission_is_proxied(s->instance) && !admission_trusts(s->instance, neighbour(s)))
		return false;
	return s->unknown || access_allows(&settings->allow, &settings->deny, &s->peer);
}

void streams_recheck(struct instance *instance)
{
	int64_t now = clock_ms();
	struct stream *s, *next;

	streams_count_sources(instance);
	for (s = TAILQ_FIRST(&instance->streams); s != NULL; s = next) {
		next = TAILQ_NEXT(s, entry);
		if (!may_stay(s))
			stream_end(s, CLOSE_DENIED);
		else
			stream_schedule_check(s, now);
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

/* --- one of them, and its end --- */

void stream_describe(const struct stream *s, struct client *client)
{
	struct tls_identity identity;

	*client = (struct client){ .id = s->id,
		.peer = s->peer,
		.proxy = s->proxy,
		.opened = s->opened,
		.active = s->active,
		.bytes_in = s->bytes_in,
		.bytes_out = s->bytes_out,
		.unsent = stream_unsent(s),
		.unread = evbuffer_get_length(bufferevent_get_input(s->channel.bev)),
		.fd = s->channel.fd };
	snprintf(client->service, sizeof(client->service), "%s", s->instance->name);
	client->tls_version = channel_tls_version(&s->channel);
	if (channel_identity(&s->channel, &identity))
		snprintf(client->tls_client, sizeof(client->tls_client), "%s",
		    tls_identity_text(&identity));
	if (s->served && s->handlers->user != NULL)
		snprintf(client->user, sizeof(client->user), "%s",
		    s->handlers->user(s->state + stream_framing_words(s->handlers)));
}

/* Logs and counts the end of a client, and adds it to the recent clients. */
static void record_closed(struct instance *instance, const struct client *client, bool refused)
{
	enum log_level level = close_reason_is_bad((enum close_reason)client->reason)
				   ? LOG_LEVEL_INFO
				   : LOG_LEVEL_DEBUG;
	char peer[ADDRESS_TEXT_MAX], key[LIMIT_KEY_MAX] = "";

	/* A monitor's connections to the control service would fill the list. */
	if (!(instance->handlers->flags & HANDLERS_ADMINISTER))
		*recent_clients_add(&instance->loop->recent_clients, refused) = *client;
	instance->counters.closed[client->reason]++;
	instance->counters.tls[client->tls_cause]++;
	if (!log_enabled(level))
		return;
	if (client->limit != LIMIT_NONE)
		limit_key((enum limit)client->limit, instance, key, sizeof(key));
	else if (client->tls_cause != TLS_FINE)
		snprintf(key, sizeof(key), "%s%s%s",
		    tls_cause_name((enum tls_cause)client->tls_cause),
		    client->tls_error == NULL ? "" : ", ",
		    client->tls_error == NULL ? "" : client->tls_error);
	log_limited(&instance->closed_lines, level,
	    "%s %s: closed: %s (%" PRIu64 " B in, %" PRIu64 " B out, %" PRId64 " ms)%s%s",
	    instance->name, peer_format(&client->peer, peer, sizeof(peer)),
	    close_reason_name((enum close_reason)client->reason), client->bytes_in,
	    client->bytes_out, client->departed - client->opened,
	    *key == '\0'                  ? ""
	    : client->limit != LIMIT_NONE ? ": over "
					  : ": ",
	    key);
}

void stream_record_end(const struct stream *s, enum close_reason reason)
{
	struct client client;

	stream_describe(s, &client);
	client.departed = clock_ms();
	client.reason = reason;
	client.limit = s->limit;
	client.tls_cause = s->channel.tls_cause;
	client.tls_error = s->channel.tls_error;
	record_closed(s->instance, &client, s->refused);
}

void stream_turn_away(struct instance *instance, int fd, const struct peer *peer,
    enum close_reason reason, enum limit limit)
{
	const int64_t now = clock_ms();
	struct client client = { .peer = *peer,
		.opened = now,
		.active = now,
		.departed = now,
		.reason = reason,
		.limit = limit };

	close(fd);
	snprintf(client.service, sizeof(client.service), "%s", instance->name);
	record_closed(instance, &client, true);
}

int stream_credentials(const struct stream *s, struct ucred *credentials)
{
	socklen_t length = sizeof(*credentials);

	return getsockopt(s->channel.fd, SOL_SOCKET, SO_PEERCRED, credentials, &length);
}

socklen_t stream_local(const struct stream *s, struct sockaddr_storage *local)
{
	socklen_t length = sizeof(*local);

	if (getsockname(s->channel.fd, (struct sockaddr *)local, &length) == -1)
		return 0;
	return sockaddr_unmap((struct sockaddr *)local, length);
}

bool stream_identity(const struct stream *s, struct tls_identity *identity)
{
	return channel_identity(&s->channel, identity);
}

bool stream_is_proxied(const struct stream *s)
{
	return s->is_proxied;
}

bool stream_is_unix(const struct stream *s)
{
	return neighbour(s)->family == AF_UNIX;
}

const struct peer *stream_peer(const struct stream *s)
{
	return &s->peer;
}
