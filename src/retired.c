/* Retired instances; each record owns its instances and their config. */
#include "retired.h"

#include <event2/event.h>
#include <stdlib.h>

#include "net/child.h"
#include "net/loop.h"
#include "net/stream.h"
#include "services/service.h"

struct retired {
	LIST_ENTRY(retired) entry;
	struct config *config;
	struct instance_list instances;
	struct event *deadline;
};

static void deadline_cb(evutil_socket_t fd, short events, void *arg)
{
	struct retired *retired = arg;
	struct instance *instance;

	(void)fd;
	(void)events;
	TAILQ_FOREACH (instance, &retired->instances, entry)
		streams_abort(instance, CLOSE_RELOAD);
}

struct retired *retired_new(struct event_base *base)
{
	struct retired *retired = calloc(1, sizeof(*retired));

	if (retired == NULL)
		return NULL;
	TAILQ_INIT(&retired->instances);
	retired->deadline = evtimer_new(base, deadline_cb, retired);
	if (retired->deadline == NULL) {
		free(retired);
		return NULL;
	}
	return retired;
}

void retired_free(struct retired *retired)
{
	if (retired == NULL)
		return;
	event_free(retired->deadline);
	config_free(retired->config);
	free(retired);
}

void retired_add(struct retired *retired, struct instance *instance)
{
	client_walks_pass_instance(instance->loop, instance);
	TAILQ_REMOVE(&instance->loop->instances, instance, entry);
	TAILQ_INSERT_TAIL(&retired->instances, instance, entry);
	streams_drain(instance, CLOSE_RELOAD);
}

void retired_file(
    struct retired *retired, struct retired_list *list, struct config *config, int64_t wait_ms)
{
	const struct timeval wait = { .tv_sec = wait_ms / 1000, .tv_usec = wait_ms % 1000 * 1000 };

	retired->config = config;
	LIST_INSERT_HEAD(list, retired, entry);
	event_add(retired->deadline, &wait);
	retired_reap(list);
}

/* Frees the instances whose clients and programs have gone. */
static void reap(struct retired *retired)
{
	struct instance *instance, *next;

	for (instance = TAILQ_FIRST(&retired->instances); instance != NULL; instance = next) {
		next = TAILQ_NEXT(instance, entry);
		if (!TAILQ_EMPTY(&instance->streams) || !LIST_EMPTY(&instance->children))
			continue;
		TAILQ_REMOVE(&retired->instances, instance, entry);
		service_stop(instance);
	}
}

void retired_reap(struct retired_list *list)
{
	struct retired *retired, *next;

	for (retired = LIST_FIRST(list); retired != NULL; retired = next) {
		next = LIST_NEXT(retired, entry);
		reap(retired);
		if (TAILQ_EMPTY(&retired->instances)) {
			LIST_REMOVE(retired, entry);
			retired_free(retired);
		}
	}
}

void retired_drain(struct retired_list *list, enum close_reason reason)
{
	struct retired *retired;
	struct instance *instance;

	LIST_FOREACH (retired, list, entry)
		TAILQ_FOREACH (instance, &retired->instances, entry)
			streams_drain(instance, reason);
}

void retired_abort(struct retired_list *list, enum close_reason reason)
{
	struct retired *retired;
	struct instance *instance;

	LIST_FOREACH (retired, list, entry)
		TAILQ_FOREACH (instance, &retired->instances, entry) {
			streams_abort(instance, reason);
			children_finish(instance);
		}
	retired_reap(list);
}
