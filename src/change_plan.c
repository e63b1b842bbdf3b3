/*
 * The listeners of a change: those that run and are wanted again, those that we were started with, and new
 * ones. A new one is bound here and not served yet.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "change_parts.h"
#include "core/inherited.h"
#include "core/privilege.h"
#include "core/suggest.h"
#include "net/endpoint.h"
#include "net/listener.h"
#include "net/multicast.h"
#include "net/names.h"
#include "services/service.h"

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
			if (!listener->kept && !listener->replaced && listener->inherited == NULL &&
			    endpoint_equal(&listener->wanted, wanted) &&
			    strcmp(listener->options.interface, options->interface) == 0)
				return listener;
	}
	return NULL;
}

static int make_room(struct planned *planned, size_t count, char *why, size_t why_size)
{
	struct listener **more =
	    reallocarray(planned->listeners, planned->count + count, sizeof(struct listener *));

	if (more == NULL) {
		snprintf(why, why_size, "out of memory");
		return -1;
	}
	planned->listeners = more;
	return 0;
}

/*
 * A Unix socket belongs to the user that we become: its group is let in, and its path can be removed at
 * the end. Where the user may not make one, root does.
 */
static struct listener *open_unix(const struct change *change, const struct endpoint *wanted,
    const struct socket_options *options, char *why, size_t why_size)
{
	struct loop *loop = change->server->loop;
	struct listener *listener;

	if (privilege_lend(change->config->main->user, why, why_size) == -1)
		return NULL;
	listener = listener_new(loop, wanted, options, why, why_size);
	privilege_return();
	if (listener == NULL && errno == EACCES)
		listener = listener_new(loop, wanted, options, why, why_size);
	return listener;
}

static struct listener *open_listener(const struct change *change, const struct endpoint *wanted,
    const struct socket_options *options, char *why, size_t why_size)
{
	struct loop *loop = change->server->loop;

	if (change->mode == CHANGE_SKETCH)
		return listener_sketch(loop, wanted, options, why, why_size);
	if (transport_is_unix(wanted->transport))
		return open_unix(change, wanted, options, why, why_size);
	return listener_new(loop, wanted, options, why, why_size);
}

/*
 * Has running listeners that are to go share the port with the new one, or not any more: 127.0.0.1 holds it
 * against * until the change is committed. Returns how many.
 */
static size_t share_port(const struct change *change, const struct endpoint *wanted,
    const struct socket_options *options, bool share)
{
	struct instance *instance;
	struct listener *listener;
	size_t count = 0;

	TAILQ_FOREACH (instance, &change->server->loop->instances, entry)
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

void forget_replaced(const struct change *change)
{
	struct instance *instance;
	struct listener *listener;

	TAILQ_FOREACH (instance, &change->server->loop->instances, entry)
		TAILQ_FOREACH (listener, &instance->listeners, entry) {
			listener->replaced = false;
			listener->successor = NULL;
		}
}

/*
 * Refuses an endpoint that collides with another one of the new config: a name may resolve to an address that is
 * listed, too. 0, or the exit status and why.
 */
static int refuse_collision(const struct change *change, const struct endpoint *wanted,
    const struct socket_options *options, char *why, size_t why_size)
{
	char text[ADDRESS_TEXT_MAX], other[ADDRESS_TEXT_MAX];

	for (size_t i = 0; i < change->count; i++)
		for (size_t j = 0; j < change->planned[i].count; j++) {
			const struct listener *listener = change->planned[i].listeners[j];

			if (!sockets_collide(
				&listener->wanted, &listener->options, wanted, options))
				continue;
			snprintf(why, why_size,
			    "%s collides with %s of services.%s: remove one of them",
			    endpoint_format(wanted, text, sizeof(text)),
			    endpoint_format(&listener->wanted, other, sizeof(other)),
			    change->planned[i].config->name);
			return EX_CONFIG;
		}
	return 0;
}

/* As open_listener(), and where listeners have the port that are to go, beside them. */
static struct listener *open_in_place(const struct change *change, const struct endpoint *wanted,
    const struct socket_options *options, char *why, size_t why_size)
{
	struct socket_options beside = *options;
	struct listener *listener = open_listener(change, wanted, options, why, why_size);
	int saved = errno;

	if (listener != NULL || errno != EADDRINUSE || transport_is_unix(wanted->transport) ||
	    share_port(change, wanted, options, true) == 0) {
		errno = saved;
		return listener;
	}
	beside.beside = true;
	listener = open_listener(change, wanted, &beside, why, why_size);
	saved = errno;
	share_port(change, wanted, options, false);
	if (listener != NULL)
		listener->options = *options;
	errno = saved;
	return listener;
}

/* This machine lacks the address or its whole family, as happens with one of several addresses of a name. */
static bool is_not_here(int error)
{
	return error == EADDRNOTAVAIL || error == EAFNOSUPPORT;
}

static int exit_status(int error)
{
	return error == EACCES || error == EPERM ? EX_NOPERM : EX_UNAVAILABLE;
}

/*
 * Plans the listener of one endpoint: a running one, or a new one. The address of a name may be absent. 0, or the
 * exit status and why.
 */
static int plan_listener(struct change *change, struct planned *planned,
    const struct endpoint *wanted, const struct socket_options *options, bool may_be_absent,
    char *why, size_t why_size)
{
	struct loop *loop = change->server->loop;
	struct listener *running = find_listener(loop, planned, wanted, options);
	struct listener *listener = running;
	int status;

	if (running == NULL || listener_needs_socket(running)) {
		if ((status = refuse_collision(change, wanted, options, why, why_size)) != 0)
			return status;
		listener = open_in_place(change, wanted, options, why, why_size);
		if (listener == NULL && may_be_absent && is_not_here(errno))
			listener =
			    running != NULL && running->socket.fd == -1
				? running
				: listener_absent(loop, wanted, options, errno, why, why_size);
	}
	if (listener == NULL)
		return exit_status(errno);
	if (listener == running) {
		running->kept = true;
	} else if (running != NULL) {
		running->replaced = true;
		if (running->instance == planned->instance)
			running->successor = listener;
	}
	planned->listeners[planned->count++] = listener;
	return 0;
}

static struct socket_options options_of(const struct instance_config *config)
{
	const struct instance_settings *settings = config->parts[PART_INSTANCE].fields;

	return (struct socket_options){ .backlog = (int)settings->backlog,
		.keepalive = instance_keepalive(settings),
		.ipv6_only = settings->ipv6_only,
		.unix_mode = settings->socket_mode };
}

/*
 * The name of the interface on which a group is joined: the zone of the address, or the interface of the service;
 * "" = as routed. A numeric zone stays in the address.
 */
static const char *group_interface(
    const struct instance_config *config, const struct address *address)
{
	const char *zone = address_zone(address);

	return zone != NULL && decimal_parse(zone, INT_MAX) == -1 ? zone
								  : service_interface(config);
}

/* Leaves out the zone of a group: that interface may come and go, so each join looks it up. */
static int resolve_numeric(struct endpoints *to, const struct address *address, const char **why)
{
	const char *zone = address_zone(address);
	struct address plain = *address;
	char host[ADDRESS_HOST_MAX];

	if (zone != NULL && decimal_parse(zone, INT_MAX) == -1 &&
	    address->transport == TRANSPORT_UDP && multicast_names_group(address))
		plain = address_without_zone(address, host);
	return endpoints_resolve(to, &plain, why);
}

static int plan_endpoints(struct change *change, struct planned *planned,
    const struct address *address, const struct endpoints *endpoints, char *why, size_t why_size)
{
	struct socket_options options = options_of(planned->config);
	bool is_name = address_is_name(address);
	size_t first = planned->count, absent = 0;
	int status = make_room(planned, endpoints->count, why, why_size) == 0 ? 0 : EXIT_FAILURE;

	for (size_t i = 0; i < endpoints->count && status == 0; i++) {
		const struct endpoint *wanted = &endpoints->items[i];

		if (service_check_endpoint(planned->config, wanted, why, why_size) == -1)
			return EX_CONFIG;
		snprintf(options.interface, sizeof(options.interface), "%s",
		    endpoint_is_group(wanted) ? group_interface(planned->config, address) : "");
		status = plan_listener(change, planned, wanted, &options, is_name, why, why_size);
	}
	for (size_t i = first; i < planned->count; i++)
		absent += planned->listeners[i]->absent != 0 &&
			  !endpoint_is_group(&planned->listeners[i]->wanted);
	return status == 0 && is_name && absent == endpoints->count ? EX_UNAVAILABLE : status;
}

/* All endpoints of one address of the config. 0, or the exit status and why. */
static int plan_address(struct change *change, struct planned *planned,
    const struct address *address, char *why, size_t why_size)
{
	struct endpoints resolved = { 0 };
	const struct endpoints *endpoints = &resolved;
	const char *reason;
	int status;

	if (address_is_name(address))
		endpoints = names_find(change->names, address, &reason);
	else if (resolve_numeric(&resolved, address, &reason) == -1)
		endpoints = NULL;
	if (endpoints == NULL) {
		snprintf(why, why_size, "cannot resolve %s: %s", address->text, reason);
		return EX_UNAVAILABLE;
	}
	status = plan_endpoints(change, planned, address, endpoints, why, why_size);
	endpoints_clear(&resolved);
	return status;
}

/* Adds what is wrong, with the place in the file; the rest of the plan is tried all the same. */
static void plan_addresses(
    struct change *change, struct planned *planned, struct strings *errors, int *status)
{
	const struct option_section *section = &planned->config->parts[PART_INSTANCE];
	const struct instance_settings *settings = section->fields;
	char why[512];

	for (size_t i = 0; i < settings->listen.count; i++) {
		const struct address *address = &settings->listen.items[i];
		struct option_origin origin = *option_origin_of(section, "listen");
		int error = plan_address(change, planned, address, why, sizeof(why));

		if (error == 0)
			continue;
		*status = error;
		if (address->line != 0)
			origin.line = address->line;
		errors_add(errors, &origin, "services.%s.listen: %s", planned->config->name, why);
	}
}

/* --- sockets that we were started with --- */

/* The listener that took it over at the start. */
static struct listener *find_adopted(struct loop *loop, const struct inherited_socket *inherited)
{
	struct instance *instance;
	struct listener *listener;

	TAILQ_FOREACH (instance, &loop->instances, entry)
		TAILQ_FOREACH (listener, &instance->listeners, entry)
			if (listener->inherited == inherited)
				return listener;
	return NULL;
}

/* Its listener, kept or made. NULL with why. */
static struct listener *adopt(struct change *change, struct planned *planned,
    struct inherited_socket *inherited, char *why, size_t why_size)
{
	struct loop *loop = change->server->loop;
	struct listener *listener = find_adopted(loop, inherited);

	if (listener != NULL) {
		listener->kept = true;
		return listener;
	}
	planned->adopts = true;
	return listener_adopt(loop, inherited, service_interface(planned->config), why, why_size);
}

static int plan_inherited_socket(struct change *change, struct planned *planned,
    struct inherited_socket *inherited, char *why, size_t why_size)
{
	struct listener *listener;

	if (make_room(planned, 1, why, why_size) == -1)
		return -1;
	listener = adopt(change, planned, inherited, why, why_size);
	if (listener == NULL)
		return -1;
	planned->listeners[planned->count++] = listener;
	return service_check_endpoint(planned->config, &listener->wanted, why, why_size);
}

/* They take the place of what `listen` says. */
static void plan_inherited(
    struct change *change, struct planned *planned, struct strings *errors, int *status)
{
	const struct option_origin *origin = &planned->config->origin;
	struct inherited *inherited = change->server->inherited;
	char why[256];

	for (size_t i = 0; i < inherited->count; i++) {
		if (strcmp(inherited->items[i].name, planned->config->name) != 0 ||
		    plan_inherited_socket(
			change, planned, &inherited->items[i], why, sizeof(why)) == 0)
			continue;
		*status = EX_CONFIG;
		errors_add(errors, origin, "services.%s: a socket from the service manager: %s",
		    planned->config->name, why);
	}
}

static void refuse_stranger(const struct config *config, const char *name, struct strings *errors)
{
	const struct instance_config *instance = config_instance(config, name);
	struct suggestion suggestion = { .name = name };

	if (instance != NULL) {
		errors_add(errors, &instance->origin,
		    "a socket from the service manager is for %s, which is not enabled", name);
		return;
	}
	for (size_t i = 0; i < config->instance_count; i++)
		suggest_offer(&suggestion, config->instances[i].name);
	strings_addf(errors,
	    "a socket from the service manager is for \"%s\", which is no service%s%s%s", name,
	    suggestion.best != NULL ? "; did you mean \"" : "",
	    suggestion.best != NULL ? suggestion.best : "", suggestion.best != NULL ? "\"?" : "");
}

/* Clients would wait for ever in the queue of a socket that no service has. */
void check_inherited(const struct change *change, struct strings *errors, int *status)
{
	const struct inherited *inherited = change->server->inherited;

	for (size_t i = 0; i < inherited->count; i++) {
		const char *name = inherited->items[i].name;
		const struct instance_config *config = config_instance(change->config, name);

		if (config != NULL && instance_enabled(config))
			continue;
		*status = EX_CONFIG;
		refuse_stranger(change->config, name, errors);
	}
}

void plan_listeners(
    struct change *change, struct planned *planned, struct strings *errors, int *status)
{
	if (inherited_has(change->server->inherited, planned->config->name))
		plan_inherited(change, planned, errors, status);
	else
		plan_addresses(change, planned, errors, status);
}
