/* The order of the checks: rules, connect_rate, limits of the instance and of all, max_per_source. */
#include "net/admission.h"

#include <stdio.h>

#include "core/clock.h"
#include "net/handlers.h"
#include "net/instance.h"
#include "net/loop.h"
#include "net/peer.h"
#include "net/settings.h"
#include "net/source.h"

#define MS_NS 1000000

static struct admission_limit limit_of(size_t now, int64_t max)
{
	return (struct admission_limit){
		.applies = true, .reached = (int64_t)now >= max, .now = (int64_t)now, .max = max
	};
}

/* Fills in the limits that hold for any address, and returns the first that is reached. */
static enum limit check_instance(const struct instance *instance, struct admission_limit limits[])
{
	const struct loop *loop = instance->loop;

	limits[LIMIT_CLIENTS] =
	    limit_of(instance->stream_count, instance->settings->max_connections);
	if (instance->max_children != 0)
		limits[LIMIT_PROGRAMS] = /* each client that arrives will need one */
		    limit_of(instance->child_count + instance->arriving, instance->max_children);
	/* An administrator gets in even when the server is full: to find out why. */
	if (!(instance->handlers->flags & HANDLERS_ADMINISTER))
		limits[LIMIT_ALL_CLIENTS] = limit_of(loop->streams, (int64_t)loop->max_streams);
	return limits[LIMIT_CLIENTS].reached       ? LIMIT_CLIENTS
	       : limits[LIMIT_PROGRAMS].reached    ? LIMIT_PROGRAMS
	       : limits[LIMIT_ALL_CLIENTS].reached ? LIMIT_ALL_CLIENTS
						   : LIMIT_NONE;
}

/* Fills in the limits that hold for the network of the peer. */
static void check_network(
    const struct instance *instance, const struct peer *peer, struct admission *a)
{
	const struct instance_settings *settings = instance->settings;
	const struct rate_limit rate = { .per_second = settings->connect_rate,
		/* max_per_source clients may come at once, whatever the rate. */
		.burst = settings->connect_rate > instance->max_per_source
			     ? settings->connect_rate
			     : instance->max_per_source,
		.prefixes = &settings->source_prefix };
	struct source_count count =
	    source_count(&instance->sources, peer, instance->max_per_source);
	int64_t wait;

	a->limits[LIMIT_SOURCE] = (struct admission_limit){ .applies = true,
		.reached = count.now >= count.max,
		.site = count.site,
		.now = count.now,
		.max = count.max };
	if (settings->connect_rate == 0)
		return;
	rates_charges(instance->rates, &rate, &peer->key, &a->charges);
	wait = rates_wait(instance->rates, &a->charges, clock_ms());
	a->limits[LIMIT_RATE] = (struct admission_limit){ .applies = true,
		.reached = wait > 0,
		.max = settings->connect_rate,
		.wait = (wait + MS_NS - 1) / MS_NS };
}

void admission_check(const struct instance *instance, const struct peer *peer, struct admission *a)
{
	const struct instance_settings *settings = instance->settings;
	enum limit full;

	*a = (struct admission){ .verdict = REFUSE_DENIED,
		.access = access_decide(&settings->allow, &settings->deny, peer) };
	if (!a->access.allowed)
		return;
	full = check_instance(instance, a->limits);
	if (peer_is_ip(peer))
		check_network(instance, peer, a);
	a->limit = full;
	if (full != LIMIT_NONE && settings->on_limit == ON_LIMIT_QUEUE) {
		a->verdict = ADMIT_LATER;
		return;
	}
	if (a->limits[LIMIT_RATE].reached)
		a->limit = LIMIT_RATE;
	else if (full == LIMIT_NONE && a->limits[LIMIT_SOURCE].reached)
		a->limit = LIMIT_SOURCE;
	a->verdict = a->limit == LIMIT_NONE ? ADMIT : REFUSE_LIMIT;
}

enum limit admission_full(const struct instance *instance)
{
	struct admission_limit limits[LIMITS] = { 0 };

	return check_instance(instance, limits);
}

enum admission_verdict admission_enter(
    struct instance *instance, const struct peer *peer, enum limit *limit)
{
	struct admission a;

	admission_check(instance, peer, &a);
	*limit = a.limit;
	if (!a.limits[LIMIT_RATE].reached)
		rates_pay(instance->rates, &a.charges, 1, clock_ms());
	if (a.verdict != ADMIT)
		return a.verdict;
	if (source_enter(&instance->sources, peer, instance->max_per_source) == -1) {
		*limit = LIMIT_MEMORY;
		return REFUSE_LIMIT;
	}
	instance->stream_count++;
	instance->loop->streams++;
	return ADMIT;
}

bool admission_is_proxied(const struct instance *instance)
{
	return instance->settings->proxy_from.count > 0;
}

bool admission_trusts(const struct instance *instance, const struct peer *proxy)
{
	return networks_match(&instance->settings->proxy_from, proxy);
}

enum admission_verdict admission_enter_unknown(struct instance *instance, enum limit *limit)
{
	*limit = admission_full(instance);
	if (*limit != LIMIT_NONE)
		return instance->settings->on_limit == ON_LIMIT_QUEUE ? ADMIT_LATER : REFUSE_LIMIT;
	instance->stream_count++;
	instance->loop->streams++;
	return ADMIT;
}

void admission_leave_unknown(struct instance *instance)
{
	instance->stream_count--;
	loop_count_departure(instance->loop);
}

enum admission_verdict admission_identify(
    struct instance *instance, const struct peer *peer, enum limit *limit)
{
	enum admission_verdict verdict;

	/* The client takes over this place, even if others wait for one. */
	instance->stream_count--;
	instance->loop->streams--;
	instance->arriving--;
	verdict = admission_enter(instance, peer, limit);
	instance->arriving++; /* until arrival_end() */
	return verdict == ADMIT_LATER ? REFUSE_LIMIT
				      : verdict; /* the limit was lowered meanwhile */
}

void admission_leave(struct instance *instance, const struct peer *peer)
{
	source_leave(&instance->sources, peer);
	instance->stream_count--;
	loop_count_departure(instance->loop);
}

const char *limit_name(enum limit limit)
{
	static const char *const names[LIMITS] = {
		[LIMIT_NONE] = "none",
		[LIMIT_CLIENTS] = "max_connections",
		[LIMIT_ALL_CLIENTS] = "limits_max_connections",
		[LIMIT_PROGRAMS] = "max_children",
		[LIMIT_SOURCE] = "max_per_source",
		[LIMIT_RATE] = "connect_rate",
		[LIMIT_MEMORY] = "memory",
		[LIMIT_FILES] = "open_files",
	};

	return names[limit];
}

const char *limit_key(enum limit limit, const struct instance *instance, char *buffer, size_t size)
{
	if (limit == LIMIT_MEMORY)
		snprintf(buffer, size, "available memory");
	else if (limit == LIMIT_FILES)
		snprintf(buffer, size, "the limit of open files");
	else if (limit == LIMIT_ALL_CLIENTS)
		snprintf(buffer, size, "limits.max_connections");
	else if (limit == LIMIT_SOURCE && instance->settings->max_per_source == 0)
		snprintf(buffer, size, "limits.max_per_source");
	else
		snprintf(buffer, size, "services.%s.%s", instance->name, limit_name(limit));
	return buffer;
}
