/* Each address and each store is compared with all that come before it in the order of the files. */
#include "services/collisions.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/inherited.h"
#include "core/path.h"
#include "net/socket.h"
#include "services/service.h"

static const struct instance_settings *settings_of(const struct instance_config *instance)
{
	return instance->parts[PART_INSTANCE].fields;
}

static struct option_origin place_of(
    const struct instance_config *instance, const struct address *address)
{
	struct option_origin place = *option_origin_of(&instance->parts[PART_INSTANCE], "listen");

	if (address->line != 0)
		place.line = address->line;
	return place;
}

/* The same directory and the same name in it, however they are spelt. */
static bool paths_equal(const char *a, const char *b)
{
	const char *a_name = strrchr(a, '/'), *b_name = strrchr(b, '/');
	char *a_directory = strndup(a, (size_t)(a_name - a));
	char *b_directory = strndup(b, (size_t)(b_name - b));
	char *a_real = a_directory == NULL ? NULL : path_canonical(a_directory);
	char *b_real = b_directory == NULL ? NULL : path_canonical(b_directory);
	bool equal = a_real != NULL && b_real != NULL && strcmp(a_real, b_real) == 0 &&
		     strcmp(a_name, b_name) == 0;

	free(a_directory);
	free(b_directory);
	free(a_real);
	free(b_real);
	return equal;
}

/* The last dot of a name says only that it is complete. */
static bool names_equal(const char *a, const char *b)
{
	size_t a_length = strlen(a), b_length = strlen(b);

	a_length -= a[a_length - 1] == '.';
	b_length -= b[b_length - 1] == '.';
	return a_length == b_length && strncasecmp(a, b, a_length) == 0;
}

/* The endpoint of an address in figures, whatever its interface. */
static bool endpoint_of(const struct address *address, struct endpoint *to)
{
	char host[ADDRESS_HOST_MAX];
	const struct address plain = address_without_zone(address, host);
	struct endpoints endpoints;
	const char *why;

	if (endpoints_resolve(&endpoints, &plain, &why) == -1)
		return false;
	*to = endpoints.items[0];
	endpoints_clear(&endpoints);
	return true;
}

static bool zones_differ(const struct address *a, const struct address *b)
{
	const char *a_zone = address_zone(a), *b_zone = address_zone(b);

	return a_zone != NULL && b_zone != NULL && strcmp(a_zone, b_zone) != 0;
}

/* One address of the config, with what is needed to compare it. */
struct listed {
	const struct instance_config *instance;
	const struct address *address;
};

static bool ports_collide(const struct listed *a, const struct listed *b)
{
	const struct socket_options a_options = { .ipv6_only =
						      settings_of(a->instance)->ipv6_only };
	const struct socket_options b_options = { .ipv6_only =
						      settings_of(b->instance)->ipv6_only };
	struct endpoint x, y;

	if (address_is_name(a->address) || address_is_name(b->address))
		return address_is_name(a->address) && address_is_name(b->address) &&
		       names_equal(a->address->host, b->address->host);
	return !zones_differ(a->address, b->address) && endpoint_of(a->address, &x) &&
	       endpoint_of(b->address, &y) && sockets_collide(&x, &a_options, &y, &b_options);
}

static bool listed_collide(const struct listed *a, const struct listed *b)
{
	const struct address *x = a->address, *y = b->address;

	if (x->path != NULL && y->path != NULL && x->path[0] == '/' && y->path[0] == '/')
		return paths_equal(x->path, y->path);
	if (x->transport != y->transport)
		return false;
	if (x->path != NULL)
		return strcmp(x->path, y->path) == 0;
	return x->port == y->port && x->port != 0 && ports_collide(a, b);
}

/* Whether it is written as [::], whatever the spelling: without ipv6_only that is all of IPv4, too. */
static bool is_ipv6_wildcard(const struct address *address)
{
	struct endpoint e;

	return address->host != NULL && strchr(address->host, ':') != NULL &&
	       endpoint_of(address, &e) && IN6_IS_ADDR_UNSPECIFIED(&e.in6.sin6_addr);
}

static bool is_ipv4(const struct address *address)
{
	return address->host != NULL && !address_is_name(address) &&
	       (strchr(address->host, ':') == NULL || strchr(address->host, '.') != NULL);
}

static void add_collision(
    struct texts *mistakes, const struct listed *first, const struct listed *second)
{
	const struct option_origin here = place_of(second->instance, second->address);
	const struct option_origin there = place_of(first->instance, first->address);
	const struct address *a = first->address, *b = second->address;
	bool dual = (is_ipv6_wildcard(a) && is_ipv4(b)) || (is_ipv6_wildcard(b) && is_ipv4(a));
	char advice[160] = "remove one of them";

	if (dual)
		snprintf(advice, sizeof(advice),
		    "[::] serves IPv4, too; set ipv6_only = true where it is, or listen on "
		    "\"%s*:%u\" alone",
		    transport_prefix(b->transport), b->port);
	mistakes_add(mistakes, &here,
	    "services.%s.listen: \"%s\" collides with \"%s\" of services.%s (%s:%d): %s",
	    second->instance->name, b->text, a->text, first->instance->name, there.file, there.line,
	    advice);
}

/* Of the addresses in `instance` and before, the first one that collides with that one of `instance`. */
static bool find_first(const struct config *config, const struct inherited *inherited,
    const struct listed *second, struct listed *first)
{
	for (const struct instance_config *i = config->instances; i <= second->instance; i++) {
		const struct addresses *listen = &settings_of(i)->listen;

		if (!instance_enabled(i) ||
		    (inherited != NULL && inherited_has(inherited, i->name)))
			continue;
		for (size_t n = 0; n < listen->count; n++) {
			*first = (struct listed){ i, &listen->items[n] };
			if (first->address == second->address)
				return false;
			if (listed_collide(first, second))
				return true;
		}
	}
	return false;
}

static const char *storage_of(const struct instance_config *instance)
{
	const struct service_ops *ops = service_of(instance->kind);

	return ops->storage == NULL ? NULL : ops->storage(instance->parts[PART_OWN].fields);
}

static void check_storage(
    const struct config *config, const struct instance_config *second, struct texts *mistakes)
{
	const char *directory = storage_of(second), *other;
	char *real = directory == NULL ? NULL : path_canonical(directory);

	for (const struct instance_config *i = config->instances; real != NULL && i < second; i++) {
		const struct option_origin *place;
		char *other_real;

		if (!instance_enabled(i) || (other = storage_of(i)) == NULL)
			continue;
		other_real = path_canonical(other);
		place = option_origin_of(&i->parts[PART_OWN], "storage");
		if (other_real != NULL && strcmp(real, other_real) == 0)
			mistakes_add(mistakes,
			    option_origin_of(&second->parts[PART_OWN], "storage"),
			    "services.%s.storage: \"%s\" is the directory of services.%s (%s:%d): "
			    "each store needs its own",
			    second->name, directory, i->name, place->file, place->line);
		free(other_real);
	}
	free(real);
}

int collisions_find(
    const struct config *config, const struct inherited *inherited, struct texts *mistakes)
{
	size_t before = mistakes->count;

	for (size_t i = 0; i < config->instance_count; i++) {
		const struct instance_config *instance = &config->instances[i];
		const struct addresses *listen = &settings_of(instance)->listen;

		if (!instance_enabled(instance))
			continue;
		check_storage(config, instance, mistakes);
		if (inherited != NULL && inherited_has(inherited, instance->name))
			continue;
		for (size_t n = 0; n < listen->count; n++) {
			const struct listed second = { instance, &listen->items[n] };
			struct listed first;

			if (find_first(config, inherited, &second, &first))
				add_collision(mistakes, &first, &second);
		}
	}
	return mistakes->count == before ? 0 : -1;
}
