/* Compares each address and each store with all that precede it in the configuration. */
#include "services/collisions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/inherited.h"
#include "core/path.h"
#include "net/settings.h"
#include "net/socket.h"
#include "services/service.h"

static struct option_origin place_of(
    const struct instance_config *instance, const struct address *address)
{
	struct option_origin place = *option_origin_of(&instance->parts[PART_INSTANCE], "listen");

	if (address->line != 0)
		place.line = address->line;
	return place;
}

/* One address of the config, prepared for the comparison with all others. */
struct listed {
	const struct instance_config *instance;
	const struct address *address;
	struct socket_options options;
	struct endpoint endpoint; /* of a numeric IP address, without its zone */
	bool is_numeric;
	/* Of a Unix socket, its directory in canonical spelling; NULL = it has no path. */
	char *path;
};

/* Keeps the last name: a symbolic link there does not lead to a socket that is bound. */
static char *canonical_socket_path(const char *path)
{
	const char *name = strrchr(path, '/');
	char *directory = strndup(path, (size_t)(name - path));
	char *real = directory == NULL ? NULL : path_canonical(directory);
	char *joined = real == NULL ? NULL : path_join(real, name + 1);

	free(directory);
	free(real);
	return joined;
}

/* Ignores a final dot, which only says that the name is complete. */
static bool names_equal(const char *a, const char *b)
{
	size_t a_length = strlen(a), b_length = strlen(b);

	a_length -= a[a_length - 1] == '.';
	b_length -= b[b_length - 1] == '.';
	return a_length == b_length && strncasecmp(a, b, a_length) == 0;
}

static bool listed_collide(const struct listed *a, const struct listed *b)
{
	const struct address *x = a->address, *y = b->address;
	const char *x_zone, *y_zone;

	if (a->path != NULL && b->path != NULL)
		return strcmp(a->path, b->path) == 0;
	if (x->transport != y->transport)
		return false;
	if (x->path != NULL)
		return strcmp(x->path, y->path) == 0;
	if (x->port != y->port || x->port == 0)
		return false;
	if (!a->is_numeric || !b->is_numeric)
		return x->is_name && y->is_name && names_equal(x->host, y->host);
	x_zone = address_zone(x);
	y_zone = address_zone(y);
	return (x_zone == NULL || y_zone == NULL || strcmp(x_zone, y_zone) == 0) &&
	       sockets_collide(&a->endpoint, &a->options, &b->endpoint, &b->options);
}

/* Whether it is [::] in any spelling, which includes all of IPv4 unless ipv6_only is set. */
static bool is_ipv6_wildcard(const struct listed *l)
{
	return l->is_numeric && l->address->host != NULL && l->endpoint.any.sa_family == AF_INET6 &&
	       IN6_IS_ADDR_UNSPECIFIED(&l->endpoint.in6.sin6_addr);
}

static bool is_ipv4(const struct listed *l)
{
	return l->is_numeric && (l->endpoint.any.sa_family == AF_INET ||
				    IN6_IS_ADDR_V4MAPPED(&l->endpoint.in6.sin6_addr));
}

static void add_collision(
    struct strings *errors, const struct listed *first, const struct listed *second)
{
	const struct option_origin here = place_of(second->instance, second->address);
	const struct option_origin there = place_of(first->instance, first->address);
	const struct address *a = first->address, *b = second->address;
	bool dual = (is_ipv6_wildcard(first) && is_ipv4(second)) ||
		    (is_ipv6_wildcard(second) && is_ipv4(first));
	char advice[160] = "remove one of them";

	if (dual)
		snprintf(advice, sizeof(advice),
		    "[::] serves IPv4, too; set ipv6_only = true where it is, or listen on "
		    "\"%s*:%u\" alone",
		    scheme_prefix(b->transport, b->protocol), b->port);
	errors_add(errors, &here,
	    "services.%s.listen: \"%s\" collides with \"%s\" of services.%s (%s:%d): %s",
	    second->instance->name, b->text, a->text, first->instance->name, there.file, there.line,
	    advice);
}

static void check_storage(
    const struct config *config, const struct instance_config *second, struct strings *errors)
{
	const char *directory = service_string(second, "storage"), *other;
	char *real = *directory == '\0' ? NULL : path_canonical(directory);

	for (const struct instance_config *i = config->instances; real != NULL && i < second; i++) {
		const struct option_origin *place;
		char *other_real;

		if (!i->enabled || *(other = service_string(i, "storage")) == '\0')
			continue;
		other_real = path_canonical(other);
		place = option_origin_of(&i->parts[PART_OWN], "storage");
		if (other_real != NULL && strcmp(real, other_real) == 0)
			errors_add(errors, option_origin_of(&second->parts[PART_OWN], "storage"),
			    "services.%s.storage: \"%s\" is the directory of services.%s (%s:%d): "
			    "each store needs its own",
			    second->name, directory, i->name, place->file, place->line);
		free(other_real);
	}
	free(real);
}

/* All addresses that would be bound. NULL, with *count 0, when out of memory. */
static struct listed *list_addresses(
    const struct config *config, const struct inherited *inherited, size_t *count)
{
	struct listed *all;
	size_t total = 1; /* calloc() may give NULL for none */

	for (size_t i = 0; i < config->instance_count; i++) {
		const struct instance_settings *settings =
		    config->instances[i].parts[PART_INSTANCE].fields;

		total += settings->listen.count;
	}
	all = calloc(total, sizeof(*all));
	*count = 0;
	for (size_t i = 0; all != NULL && i < config->instance_count; i++) {
		const struct instance_config *instance = &config->instances[i];
		const struct instance_settings *settings = instance->parts[PART_INSTANCE].fields;

		if (!instance->enabled ||
		    (inherited != NULL && inherited_has(inherited, instance->name)))
			continue;
		for (size_t n = 0; n < settings->listen.count; n++) {
			const struct address *address = &settings->listen.items[n];
			struct listed *listed = &all[(*count)++];
			char host[ADDRESS_HOST_MAX];
			struct address plain;
			struct endpoints endpoints;
			const char *why;

			listed->instance = instance;
			listed->address = address;
			listed->options.ipv6_only = settings->ipv6_only;
			if (address->path != NULL && address->path[0] == '/')
				listed->path = canonical_socket_path(address->path);
			if (address->path != NULL || address->is_name)
				continue;
			plain = address_without_zone(address, host);
			if (endpoints_resolve(&endpoints, &plain, &why) == -1)
				continue;
			listed->is_numeric = true;
			listed->endpoint = endpoints.items[0];
			endpoints_clear(&endpoints);
		}
	}
	return all;
}

int collisions_find(
    const struct config *config, const struct inherited *inherited, struct strings *errors)
{
	size_t before = errors->count, count;
	struct listed *all = list_addresses(config, inherited, &count);

	if (all == NULL)
		errors->lost = true;
	for (size_t i = 0; i < count; i++)
		for (size_t first = 0; first < i; first++)
			if (listed_collide(&all[first], &all[i])) {
				add_collision(errors, &all[first], &all[i]);
				break;
			}
	for (size_t i = 0; i < config->instance_count; i++)
		if (config->instances[i].enabled)
			check_storage(config, &config->instances[i], errors);
	for (size_t i = 0; i < count; i++)
		free(all[i].path);
	free(all);
	return all != NULL && errors->count == before ? 0 : -1;
}
