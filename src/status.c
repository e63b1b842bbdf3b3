/* What SIGUSR2 writes to the log. */
#include "status.h"

#include <inttypes.h>
#include <stdio.h>

#include "core/log.h"
#include "net/instance.h"
#include "net/listener.h"
#include "net/loop.h"

/* Appends " name=count" for each that is not zero, from the first on. */
static void list_counts(char *to, size_t size, const uint64_t *counts, int first, int end,
    const char *(*name)(int index))
{
	size_t at = 0;

	to[0] = '\0';
	for (int i = first; i < end && at < size; i++)
		if (counts[i] != 0)
			at += (size_t)snprintf(
			    to + at, size - at, " %s=%" PRIu64, name(i), counts[i]);
}

static const char *close_name(int index)
{
	return close_reason_name((enum close_reason)index);
}

static const char *drop_name(int index)
{
	return drop_reason_name((enum drop_reason)index);
}

static void log_instance(const struct instance *instance)
{
	const struct counters *c = &instance->counters;
	const struct listener *listener;
	char text[512];

	TAILQ_FOREACH (listener, &instance->listeners, entry)
		log_info("%s: serves %s", instance->name,
		    endpoint_format(&listener->socket.endpoint, text, sizeof(text)));
	log_info("%s: %zu clients, %" PRIu64 " accepted, %" PRIu64 " B in, %" PRIu64
		 " B out, %" PRIu64 " datagrams in, %" PRIu64 " out",
	    instance->name, instance->stream_count, c->accepted, c->bytes_in, c->bytes_out,
	    c->datagrams_in, c->datagrams_out);
	list_counts(text, sizeof(text), c->closed, 0, CLOSE_REASONS, close_name);
	log_info("%s: closed:%s", instance->name, text[0] != '\0' ? text : " none");
	if (instance->guard == NULL)
		return;
	list_counts(text, sizeof(text), c->drops, DROP_NOT + 1, DROP_REASONS, drop_name);
	log_info("%s: dropped:%s", instance->name, text[0] != '\0' ? text : " none");
}

void status_log(const struct loop *loop)
{
	const struct instance *instance;

	log_info("echod: %zu clients of at most %zu", loop->streams, loop->max_streams);
	TAILQ_FOREACH (instance, &loop->instances, entry)
		log_instance(instance);
}
