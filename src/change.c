/*
 * Prepare, then commit. A listener whose address is wanted again is kept with its socket (and, within its
 * instance, its clients); an instance of the same name and type keeps its data and counters. What is taken
 * away is retired: it lives on with the config it was made from until its last client has gone.
 */
#include "change.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#include "change_parts.h"
#include "core/privilege.h"
#include "net/listener.h"
#include "net/rate.h"
#include "net/stream.h"
#include "services/collisions.h"
#include "services/service.h"

static struct instance *find_running(struct loop *loop, const struct instance_config *config)
{
	struct instance *instance;

	TAILQ_FOREACH (instance, &loop->instances, entry)
		if (strcmp(instance->name, config->name) == 0 &&
		    instance->config->kind == config->kind)
			return instance;
	return NULL;
}

/* --- prepare --- */

static void free_planned(struct planned *planned)
{
	for (size_t i = 0; i < planned->count; i++) {
		struct listener *listener = planned->listeners[i];

		if (listener->instance == NULL)
			listener_free(listener);
		else
			listener->kept = false;
	}
	free(planned->listeners);
	if (planned->fresh && planned->started)
		service_stop(planned->instance);
	else if (planned->fresh)
		instance_free(planned->instance);
}

void change_cancel(struct change *change)
{
	while (change->count > 0)
		free_planned(&change->planned[--change->count]);
	forget_replaced(change);
	retired_free(change->retired);
	free(change->planned);
	free(change);
}

/* What the service opens and makes at its start is the user's, to whom it will belong. */
static int start_service(
    const struct planned *planned, const struct config *config, char *why, size_t why_size)
{
	const struct service_ops *ops = service_of(planned->config->kind);
	int result;

	if (ops->start == NULL)
		return 0;
	if (privilege_lend(config->main->user, why, why_size) == -1)
		return -1;
	result = ops->start(planned->instance, why, why_size);
	privilege_return();
	return result;
}

/* The line to name when the service cannot start: that of its store, if it has one. */
static const struct option_origin *start_origin(const struct instance_config *config)
{
	const struct service_ops *ops = service_of(config->kind);
	const struct option_section *own = &config->parts[PART_OWN];

	if (ops->storage == NULL || ops->storage(own->fields) == NULL)
		return &config->origin;
	return option_origin_of(own, "storage");
}

/* Datagrams need the guard, and streams need the rates; an instance keeps those that it has. */
static int prepare_guards(struct planned *planned)
{
	struct instance *instance = planned->instance;

	for (size_t i = 0; i < planned->count; i++) {
		bool stream = transport_is_stream(planned->listeners[i]->wanted.transport);

		if (!stream && instance->guard == NULL && (instance->guard = guard_new()) == NULL)
			return -1;
		if (stream && instance->rates == NULL && (instance->rates = rates_new()) == NULL)
			return -1;
	}
	return 0;
}

static void plan_instance(
    struct change *change, struct instance_config *config, struct strings *errors, int *status)
{
	struct planned *planned = &change->planned[change->count++];
	struct loop *loop = change->server->loop;
	char why[256] = "out of memory";

	*planned = (struct planned){ .config = config, .instance = find_running(loop, config) };
	if (planned->instance == NULL) {
		planned->instance = instance_new(loop, config->name);
		planned->fresh = true;
	}
	if (planned->instance == NULL) {
		*status = EXIT_FAILURE;
		errors_add(errors, &config->origin, "services.%s: %s", config->name, why);
		return;
	}
	plan_listeners(change, planned, errors, status);
	if (prepare_guards(planned) == -1) {
		*status = EXIT_FAILURE;
		errors_add(
		    errors, &config->origin, "services.%s: %s", config->name, strerror(errno));
		return;
	}
	if (service_verify(config, change->config->main->user, errors) == -1) {
		*status = EXIT_FAILURE;
		return;
	}
	if (!planned->fresh || change->mode == CHANGE_SKETCH)
		return;
	instance_configure(
	    planned->instance, config, service_handlers(config), change->config->limits);
	if (start_service(planned, change->config, why, sizeof(why)) == -1) {
		*status = EXIT_FAILURE;
		errors_add(errors, start_origin(config), "services.%s: %s", config->name, why);
		return;
	}
	planned->started = true;
}

/* The last thing that can fail, since it takes effect at once. */
static int open_log(const struct change *change, struct strings *errors)
{
	const char *target = change->config->log->target;
	char why[1024] = "";
	int result;

	if (change->server->detached && strcmp(target, "stderr") == 0)
		target = "syslog";
	if (change->mode == CHANGE_SKETCH) {
		result = log_probe(target);
		snprintf(why, sizeof(why), "%s", strerror(errno));
	} else {
		result = log_open(target, change->config->main->user, why, sizeof(why));
	}
	if (result == -1)
		errors_add(errors,
		    option_origin_of(config_section(change->config, "log"), "target"),
		    "log.target: cannot open %s: %s", target, why);
	return result;
}

struct change *change_prepare(struct server *server, struct config *next, const struct names *names,
    enum change_mode mode, struct strings *errors, int *status)
{
	struct change *change = calloc(1, sizeof(*change));
	size_t before = errors->count;

	*status = EXIT_FAILURE;
	if (change == NULL) {
		errors->lost = true;
		return NULL;
	}
	change->server = server;
	change->config = next;
	change->names = names;
	change->mode = mode;
	change->planned = calloc(next->instance_count, sizeof(*change->planned));
	change->retired = retired_new(server->loop->base);
	if (change->planned == NULL || change->retired == NULL) {
		strings_addf(errors, "out of memory");
		change_cancel(change);
		return NULL;
	}
	check_inherited(change, errors, status);
	if (collisions_find(next, server->inherited, errors) == -1) {
		*status = EX_CONFIG;
		change_cancel(change);
		return NULL;
	}
	for (size_t i = 0; i < next->instance_count; i++)
		if (instance_enabled(&next->instances[i]))
			plan_instance(change, &next->instances[i], errors, status);
	if (errors->count == before && !errors->lost)
		open_log(change, errors);
	if (errors->count == before && !errors->lost)
		return change;
	change_cancel(change);
	return NULL;
}

static bool is_planned(const struct change *change, const struct instance *instance)
{
	for (size_t i = 0; i < change->count; i++)
		if (change->planned[i].instance == instance)
			return true;
	return false;
}

/* --- describe --- */

static enum change_step step_of(const struct planned *planned, const struct listener *listener)
{
	if (listener->instance == NULL)
		return CHANGE_OPENS;
	return listener->instance == planned->instance ? CHANGE_KEEPS : CHANGE_MOVES;
}

void change_describe(const struct change *change,
    void (*each)(enum change_step step, const struct instance *instance,
	const struct listener *listener, void *arg),
    void *arg)
{
	const struct instance *instance;
	const struct listener *listener;

	for (size_t i = 0; i < change->count; i++) {
		const struct planned *planned = &change->planned[i];

		if (planned->fresh)
			each(CHANGE_STARTS, planned->instance, NULL, arg);
		for (size_t j = 0; j < planned->count; j++)
			each(step_of(planned, planned->listeners[j]), planned->instance,
			    planned->listeners[j], arg);
	}
	TAILQ_FOREACH (instance, &change->server->loop->instances, entry) {
		TAILQ_FOREACH (listener, &instance->listeners, entry)
			if (!listener->kept)
				each(CHANGE_CLOSES, instance, listener, arg);
		if (!is_planned(change, instance))
			each(CHANGE_STOPS, instance, NULL, arg);
	}
}

/* --- commit --- */

/* Closes what no address of the new config wanted again, for its clients too. */
static void close_unwanted(struct instance *instance)
{
	struct listener *listener, *next;

	for (listener = TAILQ_FIRST(&instance->listeners); listener != NULL; listener = next) {
		next = TAILQ_NEXT(listener, entry);
		if (listener->kept) {
			listener->kept = false;
			continue;
		}
		if (listener->successor != NULL)
			streams_move(instance, listener, listener->successor);
		else
			streams_leave(instance, listener, CLOSE_RELOAD);
		listener_free(listener);
	}
}

static void commit_listeners(struct planned *planned)
{
	for (size_t i = 0; i < planned->count; i++) {
		struct listener *listener = planned->listeners[i];

		if (listener->instance != NULL && listener->instance != planned->instance)
			streams_leave(listener->instance, listener, CLOSE_RELOAD);
		if (listener->inherited != NULL)
			service_warn_endpoint(planned->config, &listener->wanted);
		listener_start(listener, planned->instance);
	}
}

static void commit_instance(struct change *change, struct planned *planned)
{
	struct instance *instance = planned->instance;
	const struct service_ops *ops = service_of(planned->config->kind);

	if (planned->fresh)
		TAILQ_INSERT_TAIL(&change->server->loop->instances, instance, entry);
	instance_configure(
	    instance, planned->config, service_handlers(planned->config), change->config->limits);
	if (!planned->fresh && ops->reload != NULL)
		ops->reload(instance);
	streams_recheck(instance);
	if (planned->adopts)
		log_info("%s: sockets from the service manager take the place of listen",
		    instance->name);
	commit_listeners(planned);
	free(planned->listeners);
}

void change_commit(struct change *change)
{
	struct server *server = change->server;
	struct loop *loop = server->loop;
	struct instance *instance, *next;

	tzset(); /* localtime_r(3) reads the zone only once, and the administrator may have changed it */
	loop->max_streams = (size_t)change->config->limits->max_connections;
	TAILQ_FOREACH (instance, &loop->instances, entry)
		close_unwanted(instance);
	for (size_t i = 0; i < change->count; i++)
		commit_instance(change, &change->planned[i]);
	for (instance = TAILQ_FIRST(&loop->instances); instance != NULL; instance = next) {
		next = TAILQ_NEXT(instance, entry);
		if (!is_planned(change, instance))
			retired_add(change->retired, instance);
	}
	retired_file(change->retired, &server->retired, server->config,
	    change->config->limits->shutdown_timeout);
	server->config = change->config;
	free(change->planned);
	free(change);
	loop_has_room(loop);
}
