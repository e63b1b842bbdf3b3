/*
 * A timer for the instances that one reload has removed. draining_reap() frees an instance when its last stream and its
 * last program have ended, and the config with the last instance, because the instances use it until then.
 */
#include "draining.h"

#include <event2/event.h>
#include <stdlib.h>

#include "core/config.h"
#include "net/child.h"
#include "net/instance.h"
#include "net/loop.h"
#include "net/stream.h"
#include "services/service.h"

struct draining {
	LIST_ENTRY(draining) entry;
	struct config *config;
	struct instance_list instances;
	struct event *deadline;
};

static void deadline_cb(evutil_socket_t fd, short events, void *arg)
{
	struct draining *draining = arg;
	struct instance *instance;

	(void)fd;
	(void)events;
	TAILQ_FOREACH (instance, &draining->instances, entry)
		streams_abort(instance, CLOSE_RELOAD);
}

struct draining *draining_new(struct event_base *base)
{
	struct draining *draining = calloc(1, sizeof(*draining));

	if (draining == NULL)
		return NULL;
	TAILQ_INIT(&draining->instances);
	draining->deadline = evtimer_new(base, deadline_cb, draining);
	if (draining->deadline == NULL) {
		free(draining);
		return NULL;
	}
	return draining;
}

void draining_free(struct draining *draining)
{
	if (draining == NULL)
		return;
	event_free(draining->deadline);
	config_free(draining->config);
	free(draining);
}

void draining_add(struct draining *draining, struct instance *instance)
{
	client_iterators_pass_instance(instance->loop, instance);
	TAILQ_REMOVE(&instance->loop->instances, instance, entry);
	TAILQ_INSERT_TAIL(&draining->instances, instance, entry);
	streams_drain(instance, CLOSE_RELOAD);
}

void draining_start(
    struct draining *draining, struct draining_list *list, struct config *config, int64_t wait_ms)
{
	const struct timeval wait = { .tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000 };

	draining->config = config;
	LIST_INSERT_HEAD(list, draining, entry);
	event_add(draining->deadline, &wait);
	draining_reap(list);
}

void draining_reap(struct draining_list *list)
{
	struct draining *draining, *next;
	struct instance *instance, *next_instance;

	for (draining = LIST_FIRST(list); draining != NULL; draining = next) {
		next = LIST_NEXT(draining, entry);
		for (instance = TAILQ_FIRST(&draining->instances); instance != NULL;
		     instance = next_instance) {
			next_instance = TAILQ_NEXT(instance, entry);
			if (!TAILQ_EMPTY(&instance->streams) || !LIST_EMPTY(&instance->children))
				continue;
			TAILQ_REMOVE(&draining->instances, instance, entry);
			service_stop(instance);
		}
		if (TAILQ_EMPTY(&draining->instances)) {
			LIST_REMOVE(draining, entry);
			draining_free(draining);
		}
	}
}

void draining_stop(struct draining_list *list, enum close_reason reason)
{
	struct draining *draining;
	struct instance *instance;

	LIST_FOREACH (draining, list, entry)
		TAILQ_FOREACH (instance, &draining->instances, entry)
			streams_drain(instance, reason);
}

void draining_abort(struct draining_list *list, enum close_reason reason)
{
	struct draining *draining;
	struct instance *instance;

	LIST_FOREACH (draining, list, entry)
		TAILQ_FOREACH (instance, &draining->instances, entry) {
			streams_abort(instance, reason);
			children_finish(instance);
		}
	draining_reap(list);
}
