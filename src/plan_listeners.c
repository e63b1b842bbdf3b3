/*
 * The listeners of a plan. For each address the plan keeps the running listener, or opens a new socket before the old one
 * is closed, so that a plan that fails has changed nothing. reload_plan.c frees the arrays, and the new listeners of a
 * plan that is not committed.
 */
#include "plan_listeners.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "core/config.h"
#include "core/error.h"
#include "core/inherited.h"
#include "core/privilege.h"
#include "core/suggest.h"
#include "net/endpoint.h"
#include "net/instance.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/multicast.h"
#include "net/names.h"
#include "net/settings.h"
#include "running.h"
#include "services/service.h"

/* A listener of that address that the plan does not keep yet. */
static struct listener *instance_listener(
    struct instance *instance, const struct endpoint *wanted, const struct socket_options *options)
{
	struct listener *listener;

	TAILQ_FOREACH (listener, &instance->listeners, entry)
		if (!listener->kept && !listener->replaced && listener->inherited == NULL &&
		    endpoint_equal(&listener->wanted, wanted) &&
		    strcmp(listener->options.interface, options->interface) == 0)
			return listener;
	return NULL;
}

/* A running listener of that address, the instance's own first; with port 0 only its own will do. */
static struct listener *find_listener(const struct reload_plan *plan,
    const struct plan_entry *entry, const struct endpoint *wanted,
    const struct socket_options *options)
{
	struct listener *listener = instance_listener(entry->instance, wanted, options);
	struct instance *instance;

	if (listener != NULL ||
	    (!transport_is_unix(wanted->transport) && endpoint_port(wanted) == 0))
		return listener;
	TAILQ_FOREACH (instance, &plan->running->loop->instances, entry)
		if ((listener = instance_listener(instance, wanted, options)) != NULL)
			return listener;
	return NULL;
}

static int reserve_listeners(struct plan_entry *entry, size_t count, struct error *error)
{
	struct listener **more =
	    reallocarray(entry->listeners, entry->count + count, sizeof(struct listener *));

	if (more == NULL)
		return error_memory(error);
	entry->listeners = more;
	return 0;
}

/* --- new listeners --- */

static struct listener *open_listener(const struct reload_plan *plan, const struct endpoint *wanted,
    const struct socket_options *options, struct error *error)
{
	struct loop *loop = plan->running->loop;
	struct listener *listener;

	if (plan->dry_run)
		return listener_dry_run(loop, wanted, options, error);
	if (!transport_is_unix(wanted->transport))
		return listener_new(loop, wanted, options, error);
	/*
	 * A Unix socket belongs to the user that we become: its group may connect, and its path can be removed at
	 * the end. Where the user may not make one, root does.
	 */
	if (privilege_lend(plan->config->main->user, error) == -1)
		return NULL;
	listener = listener_new(loop, wanted, options, error);
	privilege_return();
	if (listener == NULL && errno == EACCES)
		listener = listener_new(loop, wanted, options, error);
	return listener;
}

/*
 * Has running listeners that will be closed share their port with the new one, or no longer: until the commit,
 * 127.0.0.1 keeps * from being bound. Returns how many.
 */
static size_t share_port(const struct reload_plan *plan, const struct endpoint *wanted,
    const struct socket_options *options, bool share)
{
	struct instance *instance;
	struct listener *listener;
	size_t count = 0;

	TAILQ_FOREACH (instance, &plan->running->loop->instances, entry)
		TAILQ_FOREACH (listener, &instance->listeners, entry) {
			if (listener->kept || listener->inherited != NULL ||
			    listener->socket.fd == -1 ||
			    !sockets_collide(
				&listener->socket.endpoint, &listener->options, wanted, options) ||
			    socket_share(&listener->socket, share) == -1)
				continue;
			listener->replaced = true;
			count++;
		}
	return count;
}

/* As open_listener(), and where listeners that will be closed have the port, beside them. */
static struct listener *open_listener_beside(const struct reload_plan *plan,
    const struct endpoint *wanted, const struct socket_options *options, struct error *error)
{
	struct socket_options beside = *options;
	struct listener *listener = open_listener(plan, wanted, options, error);
	int saved = errno;

	if (listener != NULL || errno != EADDRINUSE || transport_is_unix(wanted->transport) ||
	    share_port(plan, wanted, options, true) == 0) {
		errno = saved;
		return listener;
	}
	beside.beside = true;
	listener = open_listener(plan, wanted, &beside, error);
	saved = errno;
	share_port(plan, wanted, options, false);
	if (listener != NULL)
		listener->options = *options;
	errno = saved;
	return listener;
}

void plan_forget_replaced(const struct reload_plan *plan)
{
	struct instance *instance;
	struct listener *listener;

	TAILQ_FOREACH (instance, &plan->running->loop->instances, entry)
		TAILQ_FOREACH (listener, &instance->listeners, entry) {
			listener->replaced = false;
			listener->successor = NULL;
		}
}

/* Refuses an endpoint that collides with another one of the plan: a name may resolve to a listed address. */
static int refuse_collision(const struct reload_plan *plan, const struct endpoint *wanted,
    const struct socket_options *options, struct error *error)
{
	char text[ADDRESS_TEXT_MAX], other[ADDRESS_TEXT_MAX];

	for (size_t i = 0; i < plan->count; i++)
		for (size_t j = 0; j < plan->entries[i].count; j++) {
			const struct listener *listener = plan->entries[i].listeners[j];

			if (sockets_collide(&listener->wanted, &listener->options, wanted, options))
				return error_set(error,
				    "%s collides with %s of services.%s: remove one of them",
				    endpoint_format(wanted, text, sizeof(text)),
				    endpoint_format(&listener->wanted, other, sizeof(other)),
				    plan->entries[i].config->name);
		}
	return 0;
}

/* --- the addresses of the config --- */

/*
 * Plans the listener of one endpoint: a running one, or a new one. The address of a name may be absent from this
 * machine, or its whole family. 0, or the exit status with the error.
 */
static int plan_endpoint(struct reload_plan *plan, struct plan_entry *entry,
    const struct endpoint *wanted, const struct socket_options *options, bool may_be_absent,
    struct error *error)
{
	struct listener *running = find_listener(plan, entry, wanted, options), *listener = running;

	if (running == NULL || listener_needs_socket(running)) {
		if (refuse_collision(plan, wanted, options, error) == -1)
			return EX_CONFIG;
		listener = open_listener_beside(plan, wanted, options, error);
		if (listener == NULL && may_be_absent &&
		    (errno == EADDRNOTAVAIL || errno == EAFNOSUPPORT))
			listener = running != NULL && running->socket.fd == -1
				       ? running
				       : listener_absent(
					     plan->running->loop, wanted, options, errno, error);
	}
	if (listener == NULL) {
		int status = errno == EACCES || errno == EPERM ? EX_NOPERM : EX_UNAVAILABLE;
		size_t length = strlen(error->text);

		if (errno == EADDRNOTAVAIL && !endpoint_is_group(wanted))
			snprintf(error->text + length, sizeof(error->text) - length,
			    " (if this machine gets the address later, set freebind = true)");
		return status;
	}
	if (listener == running) {
		running->kept = true;
		running->protocol = wanted->protocol;
	} else if (running != NULL) {
		running->replaced = true;
		if (running->instance == entry->instance)
			running->successor = listener;
	}
	entry->listeners[entry->count++] = listener;
	return 0;
}

/* Whether the zone is the name of an interface; a numeric zone stays in the address. */
static bool zone_is_name(const char *zone)
{
	return zone != NULL && decimal_parse(zone, INT_MAX) == -1;
}

/*
 * The endpoints of the address: those that its name was looked up to, or the one that is put into *own. Leaves out
 * the zone of a group, because that interface may come and go: each join looks it up. NULL with the error.
 */
static const struct endpoints *resolve_address(const struct reload_plan *plan,
    const struct address *address, struct endpoints *own, struct error *error)
{
	const struct endpoints *endpoints = own;
	struct address plain = *address;
	char host[ADDRESS_HOST_MAX];
	const char *why;

	if (address->is_name) {
		endpoints = names_find(plan->names, address, &why);
	} else {
		if (address->transport == TRANSPORT_UDP && zone_is_name(address_zone(address)) &&
		    multicast_names_group(address))
			plain = address_without_zone(address, host);
		if (endpoints_resolve(own, &plain, &why) == -1)
			endpoints = NULL;
	}
	if (endpoints == NULL)
		error_set(error, "cannot resolve %s: %s", address->text, why);
	return endpoints;
}

/* Plans all endpoints of one address of the config. 0, or the exit status with the error. */
static int plan_address(struct reload_plan *plan, struct plan_entry *entry,
    const struct address *address, struct error *error)
{
	const struct instance_settings *settings = entry->config->parts[PART_INSTANCE].fields;
	struct socket_options options = { .backlog = (int)settings->backlog,
		.keepalive = instance_keepalive(settings),
		.ipv6_only = settings->ipv6_only,
		.freebind = settings->freebind,
		.unix_mode = settings->socket_mode };
	const char *zone = address_zone(address);
	const char *interface =
	    zone_is_name(zone) ? zone : service_string(entry->config, "interface");
	struct endpoints own = { 0 };
	const struct endpoints *endpoints = resolve_address(plan, address, &own, error);
	size_t first = entry->count, absent = 0;
	int status = 0;

	if (endpoints == NULL)
		return EX_UNAVAILABLE;
	if (reserve_listeners(entry, endpoints->count, error) == -1)
		status = EXIT_FAILURE;
	for (size_t i = 0; i < endpoints->count && status == 0; i++) {
		const struct endpoint *wanted = &endpoints->items[i];

		if (service_check_endpoint(entry->config, wanted, error) == -1) {
			status = EX_CONFIG;
			break;
		}
		snprintf(options.interface, sizeof(options.interface), "%s",
		    *interface != '\0' && endpoint_is_group(wanted) ? interface : "");
		status = plan_endpoint(plan, entry, wanted, &options, address->is_name, error);
	}
	for (size_t i = first; i < entry->count; i++)
		absent += entry->listeners[i]->absent != 0 &&
			  !endpoint_is_group(&entry->listeners[i]->wanted);
	if (status == 0 && address->is_name && absent == endpoints->count)
		status = EX_UNAVAILABLE;
	endpoints_clear(&own);
	return status;
}

/* --- sockets that we were started with --- */

/* Plans the listener that adopted it at the start, or one that adopts it now. */
static int plan_inherited(struct reload_plan *plan, struct plan_entry *entry,
    struct inherited_socket *inherited, struct error *error)
{
	struct loop *loop = plan->running->loop;
	struct listener *listener, *found = NULL;
	struct instance *instance;

	if (reserve_listeners(entry, 1, error) == -1)
		return -1;
	TAILQ_FOREACH (instance, &loop->instances, entry)
		TAILQ_FOREACH (listener, &instance->listeners, entry)
			if (listener->inherited == inherited)
				found = listener;
	if (found != NULL) {
		found->kept = true;
	} else {
		entry->adopts = true;
		found = listener_adopt(
		    loop, inherited, service_string(entry->config, "interface"), error);
		if (found == NULL)
			return -1;
	}
	entry->listeners[entry->count++] = found;
	return service_check_endpoint(entry->config, &found->wanted, error);
}

/* Clients would wait for ever in the queue of a socket that no service has. */
void plan_check_inherited(struct reload_plan *plan)
{
	const struct inherited *inherited = plan->running->inherited;
	const struct config *config = plan->config;

	for (size_t i = 0; i < inherited->count; i++) {
		const char *name = inherited->items[i].name;
		const struct instance_config *instance = config_instance(config, name);
		struct suggestion suggestion = { .name = name };

		if (instance != NULL && instance->enabled)
			continue;
		plan->status = EX_CONFIG;
		if (instance != NULL) {
			errors_add(plan->errors, &instance->origin,
			    "a socket from the service manager is for %s, which is not enabled",
			    name);
			continue;
		}
		for (size_t j = 0; j < config->instance_count; j++)
			suggest_offer(&suggestion, config->instances[j].name);
		strings_addf(plan->errors,
		    "a socket from the service manager is for \"%s\", which is no service%s%s%s",
		    name, suggestion.best != NULL ? "; did you mean \"" : "",
		    suggestion.best != NULL ? suggestion.best : "",
		    suggestion.best != NULL ? "\"?" : "");
	}
}

void plan_listeners(struct reload_plan *plan, struct plan_entry *entry)
{
	const struct inherited *inherited = plan->running->inherited;
	const struct option_section *section = &entry->config->parts[PART_INSTANCE];
	const struct instance_settings *settings = section->fields;
	const char *name = entry->config->name;
	struct error error;

	/* Sockets that we were started with replace `listen`. */
	if (inherited_has(inherited, name)) {
		for (size_t i = 0; i < inherited->count; i++) {
			if (strcmp(inherited->items[i].name, name) != 0 ||
			    plan_inherited(plan, entry, &inherited->items[i], &error) == 0)
				continue;
			plan->status = EX_CONFIG;
			errors_add(plan->errors, &entry->config->origin,
			    "services.%s: a socket from the service manager: %s", name, error.text);
		}
		return;
	}
	for (size_t i = 0; i < settings->listen.count; i++) {
		const struct address *address = &settings->listen.items[i];
		int status = plan_address(plan, entry, address, &error);
		struct option_origin origin;

		if (status == 0)
			continue;
		plan->status = status;
		origin = *option_origin_of(section, "listen");
		if (address->line != 0)
			origin.line = address->line;
		errors_add(plan->errors, &origin, "services.%s.listen: %s", name, error.text);
	}
}
