/* A step is one read: the client's hello costs 0.3 ms (ECDSA) to 0.9 ms (RSA) of signing, more than all else together. */
#include "net/arrival.h"

#include <event2/event.h>

#include "core/log.h"
#include "net/address.h"
#include "net/instance.h"
#include "net/loop.h"
#include "net/stream_parts.h"
#include "net/tls_identity.h"

#define STEPS_PER_TURN 4
#define HANDSHAKE_MS 10000
#define CROWDED_MS 1000 /* when there are more than: */
#define ARRIVALS_MAX 128
#define ARRIVALS_PER_SOURCE 16

int arrival_begin(struct stream *s)
{
	struct arrivals *arrivals = &s->instance->loop->arrivals;

	if (source_enter(&arrivals->sources, &s->peer, INT32_MAX) == -1)
		return -1;
	if (channel_start_tls(&s->channel, s->instance->tls) == -1) {
		source_leave(&arrivals->sources, &s->peer);
		return -1;
	}
	arrivals->count++;
	s->phase = PHASE_HANDSHAKE;
	s->moved = s->opened;
	return 0;
}

void arrival_end(struct stream *s)
{
	struct arrivals *arrivals = &s->instance->loop->arrivals;

	if (s->phase != PHASE_HANDSHAKE)
		return;
	s->phase = PHASE_SERVING;
	arrivals->count--;
	source_leave(&arrivals->sources, &s->peer);
}

void arrival_succeed(struct stream *s)
{
	struct tls_identity identity;
	char peer[ADDRESS_TEXT_MAX];

	arrival_end(s);
	if (channel_identity(&s->channel, &identity))
		log_limited(&s->instance->closed_lines, LOG_LEVEL_INFO,
		    "%s %s: certificate of %s%s%s", s->instance->name,
		    peer_format(&s->peer, peer, sizeof(peer)), identity.name,
		    *identity.name == '\0' ? "" : ", ", identity.fingerprint);
}

bool arrival_may_step(struct stream *s)
{
	struct loop *loop = s->instance->loop;

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
	return s->moved + (arrival_is_crowded(s) ? CROWDED_MS : HANDSHAKE_MS);
}
