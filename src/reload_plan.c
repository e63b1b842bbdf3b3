/*
 * Make, then commit. A listener whose address is wanted again is kept with its socket (and, within its instance, its
 * clients); an instance of the same name and type keeps its data and counters. What is removed drains with the config
 * that it was made from until its last client has gone.
 */
#include "reload_plan.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

#include "core/config.h"
#include "core/error.h"
#include "core/inherited.h"
#include "core/log.h"
#include "core/notify.h"
#include "core/privilege.h"
#include "net/acceptor.h"
#include "net/instance.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/names.h"
#include "net/rate.h"
#include "net/settings.h"
#include "net/stream.h"
#include "net/tls_context.h"
#include "plan_listeners.h"
#include "running.h"
#include "services/collisions.h"
#include "services/service.h"

struct names *reload_plan_look_up(
    const struct running *running, const struct config *config, void (*done)(void *arg), void *arg)
{
	struct names *names = names_new(running->loop->base, done, arg);

	for (size_t i = 0; names != NULL && i < config->instance_count; i++) {
		const struct instance_config *instance = &config->instances[i];
		const struct instance_settings *settings = instance->parts[PART_INSTANCE].fields;

		if (!instance->enabled || inherited_has(running->inherited, instance->name))
			continue;
		for (size_t j = 0; j < settings->listen.count; j++) {
			const struct address *address = &settings->listen.items[j];

			if (!address->is_name)
				continue;
			notify_step("Looking up %s", address->host);
			log_debug("names: looking up %s", address->host);
			if (names_look_up(names, address) == -1) {
				names_free(names);
				return NULL;
			}
		}
	}
	return names;
}

/* --- making it --- */

/* Datagrams need the guard, and streams need the rates; an instance keeps those that it has. */
static int make_guards(const struct plan_entry *entry)
{
	struct instance *instance = entry->instance;

	for (size_t i = 0; i < entry->count; i++) {
		bool stream = transport_is_stream(entry->listeners[i]->wanted.transport);

		if (!stream && instance->guard == NULL && (instance->guard = guard_new()) == NULL)
			return -1;
		if (stream && instance->rates == NULL && (instance->rates = rates_new()) == NULL)
			return -1;
	}
	return 0;
}

/* What listeners at tls:// and rediss:// present. 0, or -1 with errors added. */
static int plan_tls(const struct reload_plan *plan, struct plan_entry *entry)
{
	for (size_t i = 0; i < entry->count; i++)
		if (entry->listeners[i]->protocol.tls) {
			entry->tls = tls_context_new(plan->config, entry->config,
			    entry->instance->tls, plan->errors, plan->warnings);
			return entry->tls == NULL ? -1 : 0;
		}
	return 0;
}

/* Finds or makes the entry's instance, its listeners and guards, and starts its service; adds a mistake if it cannot. */
static void plan_instance(struct reload_plan *plan, struct instance_config *config)
{
	struct plan_entry *entry = &plan->entries[plan->count++];
	struct loop *loop = plan->running->loop;
	struct instance *instance;

	*entry = (struct plan_entry){ .config = config };
	TAILQ_FOREACH (instance, &loop->instances, entry)
		if (instance->config->kind == config->kind &&
		    strcmp(instance->name, config->name) == 0)
			break;
	if (instance == NULL) {
		if ((instance = instance_new(loop, config->name)) == NULL)
			goto fail;
		entry->fresh = true;
	}
	entry->instance = instance;
	plan_listeners(plan, entry);
	if (make_guards(entry) == -1)
		goto fail;
	if (plan_tls(plan, entry) == -1) {
		plan->status = EX_CONFIG;
		return;
	}
	if (service_prepare(config, plan->config->main->user, &entry->prepared, plan->errors) ==
	    -1) {
		plan->status = EX_CONFIG;
		return;
	}
	if (service_verify(config, plan->config->main->user, plan->errors) == -1) {
		plan->status = EXIT_FAILURE;
		return;
	}
	if (!entry->fresh || plan->dry_run)
		return;
	instance_configure(instance, config, service_handlers(config), plan->config->limits);
	if (service_start(instance, plan->config->main->user, plan->errors) == 0)
		entry->started = true;
	else
		plan->status = EXIT_FAILURE;
	return;
fail:
	plan->status = EXIT_FAILURE;
	errors_add(plan->errors, &config->origin, "services.%s: out of memory", config->name);
}

int reload_plan_open_log(const struct reload_plan *plan)
{
	const struct config *config = plan->config;
	const char *target = config->log->target;
	struct error error;
	int result;

	if (plan->running->detached && strcmp(target, "stderr") == 0)
		target = "syslog";
	if (plan->dry_run) {
		result = log_probe(target);
		error_code(&error, errno, "%s", strerror(errno));
	} else {
		result = log_open(target, config->main->user, &error);
	}
	if (result == -1)
		errors_add(plan->errors, option_origin_of(config_section(config, "log"), "target"),
		    "log.target: cannot open %s: %s", target, error.text);
	return result;
}

struct reload_plan *reload_plan_new(struct running *running, struct config *next,
    const struct names *names, bool dry_run, struct strings *errors, struct strings *warnings,
    int *status)
{
	struct reload_plan *plan = calloc(1, sizeof(*plan));
	size_t before = errors->count;

	*status = EXIT_FAILURE;
	if (plan == NULL) {
		errors->lost = true;
		return NULL;
	}
	*plan = (struct reload_plan){ .running = running,
		.config = next,
		.dry_run = dry_run,
		.names = names,
		.errors = errors,
		.warnings = warnings,
		.status = EXIT_FAILURE,
		.entries = calloc(next->instance_count, sizeof(struct plan_entry)),
		.draining = draining_new(running->loop->base) };
	if (plan->entries == NULL || plan->draining == NULL) {
		strings_add(errors, "out of memory");
		goto fail;
	}
	plan_check_inherited(plan);
	if (collisions_find(next, running->inherited, errors) == -1) {
		plan->status = EX_CONFIG;
		goto fail;
	}
	for (size_t i = 0; i < next->instance_count; i++)
		if (next->instances[i].enabled)
			plan_instance(plan, &next->instances[i]);
	if (errors->count > before || errors->lost || (dry_run && reload_plan_open_log(plan) == -1))
		goto fail;
	return plan;
fail:
	*status = plan->status;
	reload_plan_cancel(plan);
	return NULL;
}

int reload_plan_ready(const struct reload_plan *plan)
{
	size_t before = plan->errors->count;
	int ready = 1;

	for (size_t i = 0; i < plan->count; i++)
		if (plan->entries[i].fresh &&
		    service_ready(plan->entries[i].instance, plan->errors) != 1)
			ready = 0;
	return plan->errors->count > before || plan->errors->lost ? -1 : ready;
}

void reload_plan_cancel(struct reload_plan *plan)
{
	while (plan->count > 0) {
		struct plan_entry *entry = &plan->entries[--plan->count];

		for (size_t i = 0; i < entry->count; i++) {
			struct listener *listener = entry->listeners[i];

			if (listener->instance == NULL)
				listener_free(listener);
			else
				listener->kept = false;
		}
		free(entry->listeners);
		tls_context_free(entry->tls);
		service_drop_prepared(entry->config, entry->prepared);
		if (entry->fresh && entry->started)
			service_stop(entry->instance);
		else if (entry->fresh)
			instance_free(entry->instance);
	}
	plan_forget_replaced(plan);
	draining_free(plan->draining);
	free(plan->entries);
	free(plan);
}

static bool plan_has(const struct reload_plan *plan, const struct instance *instance)
{
	for (size_t i = 0; i < plan->count; i++)
		if (plan->entries[i].instance == instance)
			return true;
	return false;
}

void reload_plan_describe(const struct reload_plan *plan,
    void (*each)(enum plan_step step, const struct instance *instance,
	const struct listener *listener, void *arg),
    void *arg)
{
	const struct instance *instance;
	const struct listener *listener;

	for (size_t i = 0; i < plan->count; i++) {
		const struct plan_entry *entry = &plan->entries[i];

		if (entry->fresh)
			each(PLAN_STARTS, entry->instance, NULL, arg);
		for (size_t j = 0; j < entry->count; j++) {
			listener = entry->listeners[j];
			each(listener->instance == NULL              ? PLAN_OPENS
			     : listener->instance == entry->instance ? PLAN_KEEPS
								     : PLAN_MOVES,
			    entry->instance, listener, arg);
		}
	}
	TAILQ_FOREACH (instance, &plan->running->loop->instances, entry) {
		TAILQ_FOREACH (listener, &instance->listeners, entry)
			if (!listener->kept)
				each(PLAN_CLOSES, instance, listener, arg);
		if (!plan_has(plan, instance))
			each(PLAN_STOPS, instance, NULL, arg);
	}
}

/* --- the commit --- */

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

static void commit_entry(const struct reload_plan *plan, struct plan_entry *entry)
{
	struct instance *instance = entry->instance;
	const struct service_ops *ops = service_of(entry->config->kind);
	struct error error;

	if (entry->fresh)
		TAILQ_INSERT_TAIL(&plan->running->loop->instances, instance, entry);
	instance_configure(
	    instance, entry->config, service_handlers(entry->config), plan->config->limits);
	tls_context_install(entry->tls, instance);
	instance->prepared = entry->prepared;
	if (ops->configure != NULL)
		ops->configure(instance);
	streams_recheck(instance);
	if (entry->adopts)
		log_info("%s: sockets from the service manager take the place of listen",
		    instance->name);
	for (size_t i = 0; i < entry->count; i++) {
		struct listener *listener = entry->listeners[i];

		if (listener->instance != NULL && listener->instance != instance)
			streams_leave(listener->instance, listener, CLOSE_RELOAD);
		if (listener->inherited != NULL &&
		    service_warn_inherited(entry->config, &listener->wanted, &error) == -1)
			log_warning("services.%s: %s", instance->name, error.text);
		listener_start(listener, instance);
	}
	free(entry->listeners);
}

void reload_plan_commit(struct reload_plan *plan)
{
	struct running *running = plan->running;
	struct loop *loop = running->loop;
	struct instance *instance, *next;

	tzset(); /* localtime_r(3) reads the zone only once, and the administrator may have changed it */
	loop->max_streams = (size_t)plan->config->limits->max_connections;
	TAILQ_FOREACH (instance, &loop->instances, entry)
		close_unwanted(instance);
	for (size_t i = 0; i < plan->count; i++)
		commit_entry(plan, &plan->entries[i]);
	for (instance = TAILQ_FIRST(&loop->instances); instance != NULL; instance = next) {
		next = TAILQ_NEXT(instance, entry);
		if (!plan_has(plan, instance))
			draining_add(plan->draining, instance);
	}
	draining_start(plan->draining, &running->draining,
	    running->config == plan->config ? NULL : running->config,
	    plan->config->limits->shutdown_timeout);
	running->config = plan->config;
	free(plan->entries);
	free(plan);
	acceptors_resume(loop->acceptors);
}
