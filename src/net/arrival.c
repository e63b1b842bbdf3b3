/* A step is one read: the client's hello costs 0.3 ms (ECDSA) to 0.9 ms (RSA) of signing, more than all else together. */
#include "net/arrival.h"

#include <errno.h>
#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <sys/socket.h>

#include "core/clock.h"
#include "core/log.h"
#include "net/address.h"
#include "net/admission.h"
#include "net/instance.h"
#include "net/loop.h"
#include "net/proxy.h"
#include "net/stream.h"
#include "net/stream_parts.h"
#include "net/tls_identity.h"

#define STEPS_PER_TURN 4
#define HANDSHAKE_MS 10000
#define PREFACE_MS 5000
#define CROWDED_MS 1000 /* when there are more than: */
#define ARRIVALS_MAX 128
#define ARRIVALS_PER_SOURCE 16

int arrival_begin(struct stream *s, bool tls)
{
	struct arrivals *arrivals = &s->instance->loop->arrivals;

	if (source_enter(&arrivals->sources, &s->peer, INT32_MAX) == -1)
		return -1;
	if (tls && channel_start_tls(&s->channel, s->instance->tls) == -1) {
		source_leave(&arrivals->sources, &s->peer);
		return -1;
	}
	arrivals->count++;
	if (s->phase != PHASE_PREFACE)
		s->instance->arriving++;
	s->phase = PHASE_HANDSHAKE;
	s->moved = clock_ms();
	return 0;
}

void arrival_await_header(struct stream *s)
{
	s->phase = PHASE_PREFACE;
	s->is_proxied = true;
	s->instance->arriving++;
	s->unknown = true;
	s->moved = s->opened;
}

/*
 * 1 = the header is whole, 0 = not yet, or -1 with errno: EPROTO if it is broken, and then *why says what was expected;
 * ENOTCONN if the connection has ended without a byte, as a check of whether somebody listens does.
 */
static int receive_header(struct stream *s, struct proxy_header *header, const char **why)
{
	struct evbuffer *in = bufferevent_get_input(s->channel.bev);
	char bytes[PROXY_HEADER_MAX];
	size_t have = (size_t)evbuffer_copyout(in, bytes, sizeof(bytes)), length;
	ssize_t n =
	    recv(s->channel.fd, bytes + have, sizeof(bytes) - have, MSG_PEEK | MSG_DONTWAIT);
	enum proxy_parsed parsed;

	if (n == -1)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	*why = "the connection has ended in the middle of a PROXY header";
	parsed = n == 0 ? PROXY_BROKEN : proxy_parse(bytes, have + (size_t)n, header, why);
	if (parsed == PROXY_BROKEN) {
		errno = n == 0 && have == 0 ? ENOTCONN : EPROTO;
		return -1;
	}
	length = parsed == PROXY_DONE ? header->length - have : (size_t)n;
	n = recv(s->channel.fd, bytes + have, length, MSG_DONTWAIT);
	if (n == -1)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	s->bytes_in += (size_t)n;
	s->instance->counters.bytes_in += (size_t)n;
	if (parsed == PROXY_DONE && (size_t)n == length) {
		evbuffer_drain(in, have);
		return 1;
	}
	if (evbuffer_add(in, bytes + have, (size_t)n) == 0)
		return 0;
	errno = ENOMEM;
	return -1;
}

/* Counts the client by the address that the proxy has announced. Ends the stream if it may not stay: false. */
static bool identify(struct stream *s, const struct peer *source)
{
	struct instance *instance = s->instance;
	enum admission_verdict verdict;
	enum limit limit;

	s->proxy = s->peer;
	s->peer = *source;
	s->unknown = false;
	verdict = admission_identify(instance, source, &limit);
	if (verdict == ADMIT)
		return true;
	s->refused = true; /* it is no longer counted */
	instance->loop->refused++;
	loop_announce_departure(instance->loop); /* it may linger, but its place is free */
	if (verdict == REFUSE_DENIED) {
		stream_end(s, CLOSE_DENIED);
		return false;
	}
	instance->counters.refused[limit]++;
	s->limit = (uint8_t)limit;
	if (instance->loop->refused > REFUSED_MAX) {
		stream_end(s, CLOSE_LIMIT);
		return false;
	}
	stream_say_refusal(s);
	stream_close(s, CLOSE_LIMIT);
	return false;
}

static void log_proxy(struct stream *s, const char *what)
{
	char proxy[ADDRESS_TEXT_MAX];

	log_limited(&s->instance->closed_lines, LOG_LEVEL_WARNING, "%s %s: %s", s->instance->name,
	    peer_format(&s->peer, proxy, sizeof(proxy)), what);
}

void arrival_log_late(struct stream *s)
{
	log_proxy(s, "no PROXY header within 5 seconds");
}

bool arrival_read_header(struct stream *s)
{
	struct proxy_header header;
	const char *why = NULL;
	int got = receive_header(s, &header, &why);

	if (got == 0)
		return false;
	if (got == -1 && errno == EPROTO) {
		log_proxy(s, why);
		stream_close(s, CLOSE_PROTOCOL);
		return false;
	}
	if (got == -1) {
		stream_end(s, errno == ENOTCONN ? CLOSE_CLIENT_EOF : CLOSE_RESET);
		return false;
	}
	if (header.is_announced && !identify(s, &header.source))
		return false;
	if (s->wants_tls &&
	    s->instance->tls == NULL) { /* a reload has made it a plain address meanwhile */
		stream_end(s, CLOSE_RELOAD);
		return false;
	}
	if (arrival_begin(s, s->wants_tls) == 0)
		return true;
	if (s->wants_tls)
		s->channel.tls_cause = TLS_MEMORY;
	else
		s->limit = LIMIT_MEMORY;
	stream_end(s, s->wants_tls ? CLOSE_TLS : CLOSE_LIMIT);
	return false;
}

static void count_out(struct stream *s)
{
	struct arrivals *arrivals = &s->instance->loop->arrivals;

	if (s->phase == PHASE_HANDSHAKE) {
		arrivals->count--;
		source_leave(&arrivals->sources, &s->peer);
	}
	s->instance->arriving--;
	s->phase = PHASE_SERVING;
}

void arrival_end(struct stream *s)
{
	if (s->phase > PHASE_HANDSHAKE)
		return;
	count_out(s);
	loop_announce_departure(s->instance->loop); /* it may linger, but needs no program */
}

void arrival_succeed(struct stream *s)
{
	struct tls_identity identity;
	char peer[ADDRESS_TEXT_MAX];

	count_out(s);
	if (channel_identity(&s->channel, &identity))
		log_limited(&s->instance->closed_lines, LOG_LEVEL_INFO,
		    "%s %s: certificate of %s%s%s", s->instance->name,
		    peer_format(&s->peer, peer, sizeof(peer)), identity.name,
		    *identity.name == '\0' ? "" : ", ", identity.fingerprint);
}

bool arrival_may_step(struct stream *s)
{
	struct loop *loop = s->instance->loop;

	if (s->channel.established)
		return true; /* without TLS */
	if (loop->arrivals.steps == STEPS_PER_TURN)
		return false;
	if (loop->arrivals.steps++ == 0)
		event_active(loop->flush, EV_SIGNAL, 0); /* at the end of this turn */
	return true;
}

bool arrival_is_crowded(const struct stream *s)
{
	const struct arrivals *arrivals = &s->instance->loop->arrivals;

	return arrivals->count > ARRIVALS_MAX ||
	       source_count(&arrivals->sources, &s->peer, ARRIVALS_PER_SOURCE).now >
		   ARRIVALS_PER_SOURCE;
}

int64_t arrival_deadline(const struct stream *s)
{
	if (s->phase == PHASE_PREFACE)
		return s->moved + PREFACE_MS;
	return s->moved + (arrival_is_crowded(s) ? CROWDED_MS : HANDSHAKE_MS);
}
