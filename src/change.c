/*
 * Prepare, then commit. A listener whose address is wanted again is kept with its socket (and, within its
 * instance, its clients); an instance of the same name and type keeps its data and counters. What is taken
 * away is retired: it lives on with the config it was made from until its last client has gone.
 */
#include "change.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "net/endpoint.h"
#include "net/listener.h"
#include "net/stream.h"
#include "services/service.h"

/* One enabled instance of the new config. */
struct planned {
	struct instance_config *config;
	struct instance *instance;
	bool fresh;   /* made for this change */
	bool started; /* its service, if fresh */
	struct listener **listeners;
	size_t count;
};

struct change {
	struct server *server;
	struct config *config;
	struct planned *planned;
	size_t count;
	struct retired *retired; /* for what the new config has not */
};

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

static void change_free(struct change *change)
{
	while (change->count > 0)
		free_planned(&change->planned[--change->count]);
	retired_free(change->retired);
	free(change->planned);
	free(change);
}

/* A running listener of that address; with port 0 only one's own will do. */
static struct listener *find_listener(struct loop *loop, const struct planned *planned,
    const struct endpoint *wanted, const struct socket_options *options)
{
	bool any_port = !transport_is_unix(wanted->transport) && endpoint_port(wanted) == 0;
	struct instance *instance;
	struct listener *listener;

	TAILQ_FOREACH (instance, &loop->instances, entry) {
		if (any_port && instance != planned->instance)
			continue;
		TAILQ_FOREACH (listener, &instance->listeners, entry)
			if (!listener->kept && endpoint_equal(&listener->wanted, wanted) &&
			    strcmp(listener->options.interface, options->interface) == 0)
				return listener;
	}
	return NULL;
}

static int plan_listener(struct change *change, struct planned *planned,
    const struct endpoint *wanted, char *why, size_t why_size)
{
	const struct instance_settings *settings = planned->config->parts[PART_INSTANCE].fields;
	struct socket_options options = { .backlog = (int)settings->backlog,
		.ipv6_only = settings->ipv6_only,
		.unix_mode = settings->socket_mode };
	struct loop *loop = change->server->loop;
	struct listener *listener;

	if (endpoint_is_group(wanted))
		snprintf(options.interface, sizeof(options.interface), "%s",
		    service_interface(planned->config));
	listener = find_listener(loop, planned, wanted, &options);
	if (listener == NULL)
		listener = listener_new(loop, wanted, &options, why, why_size);
	else
		listener->kept = true;
	if (listener == NULL)
		return -1;
	planned->listeners[planned->count++] = listener;
	return 0;
}

/* All endpoints of one address of the config. 0, or -1 with errno and why. */
static int plan_address(struct change *change, struct planned *planned,
    const struct address *address, char *why, size_t why_size)
{
	struct endpoints endpoints = { 0 };
	struct listener **more;
	const char *reason;
	int result = 0;

	if (endpoints_resolve(&endpoints, address, &reason) == -1) {
		snprintf(why, why_size, "cannot resolve %s: %s", address->text, reason);
		errno = EADDRNOTAVAIL;
		return -1;
	}
	more = reallocarray(
	    planned->listeners, planned->count + endpoints.count, sizeof(struct listener *));
	if (more == NULL) {
		snprintf(why, why_size, "out of memory");
		result = -1;
	} else {
		planned->listeners = more;
	}
	for (size_t i = 0; i < endpoints.count && result == 0; i++)
		result = plan_listener(change, planned, &endpoints.items[i], why, why_size);
	endpoints_clear(&endpoints);
	return result;
}

static int exit_status(int error)
{
	return error == EACCES || error == EPERM ? EX_NOPERM : EX_UNAVAILABLE;
}

/* Adds what is wrong, with the place in the file; the rest of the plan is tried all the same. */
static void plan_addresses(
    struct change *change, struct planned *planned, struct texts *mistakes, int *status)
{
	const struct option_section *section = &planned->config->parts[PART_INSTANCE];
	const struct instance_settings *settings = section->fields;
	const struct option_origin *origin =
	    option_origin(section, option_find(instance_rows, "listen"));
	char why[256];

	for (size_t i = 0; i < settings->listen.count; i++) {
		if (plan_address(change, planned, &settings->listen.items[i], why, sizeof(why)) ==
		    0)
			continue;
		*status = exit_status(errno);
		texts_addf(mistakes, "%s:%d: services.%s.listen: %s", origin->file, origin->line,
		    planned->config->name, why);
	}
}

/* Whether what the service needs beside its addresses is there. */
static int verify(const struct instance_config *config, struct texts *mistakes)
{
	const struct service_ops *ops = service_of(config->kind);
	const struct option_origin *origin;
	const struct option_row *row;
	const char *key;
	char why[256];
	size_t part;

	if (ops->verify == NULL || ops->verify(config, &key, why, sizeof(why)) == 0)
		return 0;
	row = config_kind_row(config->kind, key, &part);
	origin = option_origin(&config->parts[part], row);
	texts_addf(mistakes, "%s:%d: services.%s.%s: %s", origin->file, origin->line, config->name,
	    key, why);
	return -1;
}

/* Datagrams need the guard; an instance that has one keeps it. */
static int prepare_guard(struct planned *planned)
{
	struct instance *instance = planned->instance;

	for (size_t i = 0; i < planned->count && instance->guard == NULL; i++)
		if (!transport_is_stream(planned->listeners[i]->wanted.transport) &&
		    (instance->guard = guard_new()) == NULL)
			return -1;
	return 0;
}

static void plan_instance(
    struct change *change, struct instance_config *config, struct texts *mistakes, int *status)
{
	struct planned *planned = &change->planned[change->count++];
	const struct service_ops *ops = service_of(config->kind);
	struct loop *loop = change->server->loop;
	char why[256] = "out of memory";

	*planned = (struct planned){ .config = config, .instance = find_running(loop, config) };
	if (planned->instance == NULL) {
		planned->instance = instance_new(loop, config->name);
		planned->fresh = true;
	}
	if (planned->instance == NULL) {
		*status = EXIT_FAILURE;
		texts_addf(mistakes, "services.%s: %s", config->name, why);
		return;
	}
	plan_addresses(change, planned, mistakes, status);
	if (prepare_guard(planned) == -1) {
		*status = EXIT_FAILURE;
		texts_addf(mistakes, "services.%s: %s", config->name, strerror(errno));
		return;
	}
	if (verify(config, mistakes) == -1) {
		*status = EXIT_FAILURE;
		return;
	}
	if (!planned->fresh)
		return;
	instance_configure(
	    planned->instance, config, service_handlers(config), change->config->limits);
	if (ops->start != NULL && ops->start(planned->instance, why, sizeof(why)) == -1) {
		*status = EXIT_FAILURE;
		texts_addf(mistakes, "services.%s: %s", config->name, why);
		return;
	}
	planned->started = true;
}

static bool is_enabled(const struct instance_config *config)
{
	return ((const struct instance_settings *)config->parts[PART_INSTANCE].fields)->enabled;
}

/* The last thing that can fail, since it takes effect at once. */
static int open_log(struct server *server, const struct config *next, struct texts *mistakes)
{
	const char *target = next->log->target;

	if (server->detached && strcmp(target, "stderr") == 0) {
		if (log_open("syslog") == -1)
			log_warning("echod: no syslog (%s): nothing will be logged in the "
				    "background",
			    strerror(errno));
		return 0;
	}
	if (log_open(target) == 0)
		return 0;
	texts_addf(mistakes, "log.target: cannot open %s: %s", target, strerror(errno));
	return -1;
}

struct change *change_prepare(
    struct server *server, struct config *next, struct texts *mistakes, int *status)
{
	struct change *change = calloc(1, sizeof(*change));
	size_t before = mistakes->count;

	*status = EXIT_FAILURE;
	if (change == NULL) {
		mistakes->lost = true;
		return NULL;
	}
	change->server = server;
	change->config = next;
	change->planned = calloc(next->instance_count, sizeof(*change->planned));
	change->retired = retired_new(server->loop->base);
	if (change->planned == NULL || change->retired == NULL) {
		texts_addf(mistakes, "out of memory");
		change_free(change);
		return NULL;
	}
	for (size_t i = 0; i < next->instance_count; i++)
		if (is_enabled(&next->instances[i]))
			plan_instance(change, &next->instances[i], mistakes, status);
	if (mistakes->count == before && !mistakes->lost)
		open_log(server, next, mistakes);
	if (mistakes->count == before && !mistakes->lost)
		return change;
	change_free(change);
	return NULL;
}

/* --- commit --- */

static bool is_planned(const struct change *change, const struct instance *instance)
{
	for (size_t i = 0; i < change->count; i++)
		if (change->planned[i].instance == instance)
			return true;
	return false;
}

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
	commit_listeners(planned);
	free(planned->listeners);
}

void change_commit(struct change *change)
{
	struct server *server = change->server;
	struct loop *loop = server->loop;
	struct instance *instance, *next;

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
