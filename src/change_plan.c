/*
 * The listeners of a change: those that run and are wanted again, those that we were started with, and new
 * ones. A new one is bound here and not served yet.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

#include "change_parts.h"
#include "core/inherited.h"
#include "core/nearest.h"
#include "core/privilege.h"
#include "net/endpoint.h"
#include "net/listener.h"
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
		TAILQ_FOREACH (listener, &instance->listeners, entry)
			listener->replaced = false;
}

/* Whether the new config itself wants both, which a start would refuse. */
static bool collides_with_planned(const struct change *change, const struct endpoint *wanted,
    const struct socket_options *options)
{
	for (size_t i = 0; i < change->count; i++)
		for (size_t j = 0; j < change->planned[i].count; j++) {
			const struct listener *listener = change->planned[i].listeners[j];

			if (sockets_collide(&listener->wanted, &listener->options, wanted, options))
				return true;
		}
	return false;
}

/* As open_listener(), and where listeners have the port that are to go, beside them. */
static struct listener *open_in_place(const struct change *change, const struct endpoint *wanted,
    const struct socket_options *options, char *why, size_t why_size)
{
	struct socket_options beside = *options;
	struct listener *listener = open_listener(change, wanted, options, why, why_size);
	int saved = errno;

	if (listener != NULL || errno != EADDRINUSE ||
	    collides_with_planned(change, wanted, options) ||
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

static int plan_listener(struct change *change, struct planned *planned,
    const struct endpoint *wanted, char *why, size_t why_size)
{
	const struct instance_settings *settings = planned->config->parts[PART_INSTANCE].fields;
	struct socket_options options = { .backlog = (int)settings->backlog,
		.ipv6_only = settings->ipv6_only,
		.unix_mode = settings->socket_mode };
	struct listener *listener;

	if (endpoint_is_group(wanted))
		snprintf(options.interface, sizeof(options.interface), "%s",
		    service_interface(planned->config));
	listener = find_listener(change->server->loop, planned, wanted, &options);
	if (listener != NULL)
		listener->kept = true;
	else
		listener = open_in_place(change, wanted, &options, why, why_size);
	if (listener == NULL)
		return -1;
	planned->listeners[planned->count++] = listener;
	return 0;
}

/* All endpoints of one address of the config. 0, or -1 with errno and why. */
static int plan_address(struct change *change, struct planned *planned,
    const struct address *address, char *why, size_t why_size)
{
	bool is_name = address->host != NULL && address_is_name(address);
	struct endpoints resolved = { 0 };
	const struct endpoints *endpoints = &resolved;
	const char *reason;
	int result;

	if (is_name)
		endpoints = names_find(change->names, address, &reason);
	else if (endpoints_resolve(&resolved, address, &reason) == -1)
		endpoints = NULL;
	if (endpoints == NULL) {
		snprintf(why, why_size, "cannot resolve %s: %s", address->text, reason);
		errno = EADDRNOTAVAIL;
		return -1;
	}
	result = make_room(planned, endpoints->count, why, why_size);
	for (size_t i = 0; i < endpoints->count && result == 0; i++)
		result = plan_listener(change, planned, &endpoints->items[i], why, why_size);
	endpoints_clear(&resolved);
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
	char why[256];

	for (size_t i = 0; i < settings->listen.count; i++) {
		if (plan_address(change, planned, &settings->listen.items[i], why, sizeof(why)) ==
		    0)
			continue;
		*status = exit_status(errno);
		mistakes_add(mistakes, option_origin_of(section, "listen"),
		    "services.%s.listen: %s", planned->config->name, why);
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
    struct change *change, struct planned *planned, struct texts *mistakes, int *status)
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
		mistakes_add(mistakes, origin, "services.%s: a socket from the service manager: %s",
		    planned->config->name, why);
	}
}

static void refuse_stranger(const struct config *config, const char *name, struct texts *mistakes)
{
	const struct instance_config *instance = config_instance(config, name);
	struct nearest nearest = { .name = name };

	if (instance != NULL) {
		mistakes_add(mistakes, &instance->origin,
		    "a socket from the service manager is for %s, which is not enabled", name);
		return;
	}
	for (size_t i = 0; i < config->instance_count; i++)
		nearest_offer(&nearest, config->instances[i].name);
	texts_addf(mistakes,
	    "a socket from the service manager is for \"%s\", which is no service%s%s%s", name,
	    nearest.best != NULL ? "; did you mean \"" : "",
	    nearest.best != NULL ? nearest.best : "", nearest.best != NULL ? "\"?" : "");
}

/* Clients would wait for ever in the queue of a socket that no service has. */
void check_inherited(const struct change *change, struct texts *mistakes, int *status)
{
	const struct inherited *inherited = change->server->inherited;

	for (size_t i = 0; i < inherited->count; i++) {
		const char *name = inherited->items[i].name;
		const struct instance_config *config = config_instance(change->config, name);

		if (config != NULL && instance_enabled(config))
			continue;
		*status = EX_CONFIG;
		refuse_stranger(change->config, name, mistakes);
	}
}

void plan_listeners(
    struct change *change, struct planned *planned, struct texts *mistakes, int *status)
{
	if (inherited_has(change->server->inherited, planned->config->name))
		plan_inherited(change, planned, mistakes, status);
	else
		plan_addresses(change, planned, mistakes, status);
}
