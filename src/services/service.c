/* The table of services, and what holds for all of them. */
#include "services/service.h"

#include <errno.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/log.h"
#include "core/privilege.h"
#include "net/multicast.h"
#include "net/settings.h"
#include "net/socket.h"
#include "net/tls_settings.h"

const struct config_kind *const service_kinds[] = {
#define SERVICE(name) &service_##name.kind,
#include "services/services.def"
#undef SERVICE
	NULL
};

const struct service_ops *service_of(const struct config_kind *kind)
{
	return (
	    const struct service_ops *)((const char *)kind - offsetof(struct service_ops, kind));
}

/* The value of a key of the service's own; NULL = it has no such key. */
static const void *own_value(const struct instance_config *config, const char *key)
{
	const struct option_section *own = &config->parts[PART_OWN];
	const struct option_row *row = own->rows;

	while (row != NULL && row->key != NULL && strcmp(row->key, key) != 0)
		row++;
	return row == NULL || row->key == NULL ? NULL : (const char *)own->fields + row->offset;
}

const struct handlers *service_handlers(const struct instance_config *config)
{
	const int *mode = own_value(config, "mode");

	return &service_of(config->kind)->handlers[mode == NULL ? 0 : *mode];
}

const char *service_string(const struct instance_config *config, const char *key)
{
	const char *const *value = own_value(config, key);

	return value == NULL || *value == NULL ? "" : *value;
}

/* The line to correct is that of its store, if it has one. */
static void add_failure(
    const struct instance *instance, const struct error *error, struct strings *errors)
{
	const struct instance_config *config = instance->config;

	errors_add(errors,
	    *service_string(config, "storage") != '\0'
		? option_origin_of(&config->parts[PART_OWN], "storage")
		: &config->origin,
	    "services.%s: %s", instance->name, error->text);
}

int service_start(struct instance *instance, const char *user, struct strings *errors)
{
	const struct service_ops *ops = service_of(instance->config->kind);
	struct error error;
	int result;

	if (ops->start == NULL)
		return 0;
	/* Its files and directories have to belong to the user. */
	result = privilege_lend(user, &error);
	if (result == 0) {
		result = ops->start(instance, &error);
		privilege_return();
	}
	if (result == -1)
		add_failure(instance, &error, errors);
	return result;
}

int service_ready(const struct instance *instance, struct strings *errors)
{
	const struct service_ops *ops = service_of(instance->config->kind);
	struct error error;
	int result = ops->ready == NULL ? 1 : ops->ready(instance, &error);

	if (result == -1)
		add_failure(instance, &error, errors);
	return result;
}

void service_stop(struct instance *instance)
{
	const struct service_ops *ops = service_of(instance->config->kind);

	if (ops->stop != NULL)
		ops->stop(instance);
	else
		free(instance->state);
	instance_free(instance);
}

static bool has_transport(
    const struct service_ops *ops, enum transport transport, struct wire_protocol protocol)
{
	return ops->transports & (1u << transport) &&
	       (!protocol.resp || ops->handlers->resp != NULL);
}

/* Sets the error for an address of a transport that the service does not have. */
static int refuse_transport(const struct service_ops *ops, struct wire_protocol protocol,
    const char *address, struct error *error)
{
	static const struct {
		unsigned transports;
		bool resp;
		const char *expected, *name;
	} kinds[] = {
		{ SERVICE_STREAM, false, "tcp:// or unix://", "streams" },
		{ SERVICE_STREAM, true, "tcp://, unix://, redis:// or redis+unix://", "streams" },
		{ SERVICE_DATAGRAM, false, "udp:// or unixgram://", "datagrams" },
		{ SERVICE_UNIX, false, "unix:///path", "Unix stream sockets" },
	};

	if (protocol.resp && ops->handlers->resp == NULL)
		return error_set(
		    error, "\"%s\": %s does not speak RESP, only kv does", address, ops->kind.type);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (kinds[i].transports == ops->transports &&
		    kinds[i].resp == (ops->handlers->resp != NULL))
			error_set(error, "expected %s, got \"%s\": %s is a service for %s only%s%s",
			    kinds[i].expected, address, ops->kind.type, kinds[i].name,
			    ops->transports_why == NULL ? "" : ": ",
			    ops->transports_why == NULL ? "" : ops->transports_why);
	return -1;
}

/* Only services that answer nothing may join groups, and a link-local address needs an interface. */
static int check_scope(const struct instance_config *config, const struct address *address,
    const char *interface, struct error *error)
{
	const char *text = address->text;
	bool is_group = multicast_names_group(address);

	if (is_group && address->transport != TRANSPORT_UDP)
		return error_set(error,
		    "\"%s\" is a multicast group: only datagrams, udp://, are sent to one", text);
	if (is_group && !(service_handlers(config)->flags & HANDLERS_RECEIVE))
		return error_set(
		    error, "\"%s\" is a multicast group: only a receiver joins one", text);
	if (!multicast_needs_interface(address))
		return 0;
	if (!is_group)
		return error_set(error,
		    "\"%s\" is a link-local address and needs its interface: write it behind a "
		    "%%, [%s%%eth0]",
		    text, address->host);
	if (*interface == '\0')
		return error_set(error,
		    "\"%s\" is a link-local group and needs an interface: add the key interface",
		    text);
	return 0;
}

int service_check(const struct instance_config *config, struct error *error)
{
	const struct service_ops *ops = service_of(config->kind);
	const struct instance_settings *settings = config->parts[PART_INSTANCE].fields;
	const char *interface = service_string(config, "interface");

	if (ops->transports == 0 && settings->listen.count > 0)
		return error_key(error, "listen", "expected none: %s does not listen, %s",
		    ops->kind.type, ops->transports_why);
	if (ops->transports != 0 && settings->enabled && settings->listen.count == 0)
		return error_key(error, "listen",
		    "expected an address such as \"tcp://127.0.0.1:5566\", got none");
	for (size_t i = 0; i < settings->listen.count; i++) {
		const struct address *address = &settings->listen.items[i];

		if ((!has_transport(ops, address->transport, address->protocol) &&
			refuse_transport(ops, address->protocol, address->text, error) == -1) ||
		    (address->host != NULL &&
			check_scope(config, address, interface, error) == -1)) {
			error->key = address->text;
			return -1;
		}
	}
	if (settings->proxy_from.count > 0 && ops->handlers != NULL &&
	    (ops->handlers->flags & HANDLERS_ADMINISTER))
		return error_key(error, "proxy_from",
		    "%s takes no PROXY header: echoctl does not send one", ops->kind.type);
	if (strlen(interface) >= IF_NAMESIZE)
		return error_key(error, "interface",
		    "expected the name of an interface, at most %d bytes, got \"%.64s\"",
		    IF_NAMESIZE - 1, interface);
	return ops->check != NULL ? ops->check(config, error) : 0;
}

int service_check_endpoint(
    const struct instance_config *config, const struct endpoint *endpoint, struct error *error)
{
	const struct service_ops *ops = service_of(config->kind);
	char text[ADDRESS_TEXT_MAX];

	if (ops->transports == 0)
		return error_set(
		    error, "%s does not listen, %s", ops->kind.type, ops->transports_why);
	if (endpoint_is_group(endpoint) && !(service_handlers(config)->flags & HANDLERS_RECEIVE))
		return error_set(error, "\"%s\" is a multicast group: only a receiver joins one",
		    endpoint_format(endpoint, text, sizeof(text)));
	if (has_transport(ops, endpoint->transport, endpoint->protocol))
		return 0;
	return refuse_transport(
	    ops, endpoint->protocol, endpoint_format(endpoint, text, sizeof(text)), error);
}

/* Whether clients log in. */
static bool has_users(const struct instance_config *config)
{
	const char *path = service_string(config, "users");

	return *path != '\0';
}

/* Whether others can read a login at such an address, if it is not one of loopback. */
static bool is_login_in_clear(
    const struct instance_config *config, enum transport transport, struct wire_protocol protocol)
{
	return transport == TRANSPORT_TCP && !protocol.tls && has_users(config);
}

#define LOGIN_IN_CLEAR "%s takes names and passwords in the clear: use %s in its place"

/* Whether only proxies may connect, or at an address of TLS only holders of certificates of the service's authorities. */
static bool is_restricted(const struct instance_config *config, struct wire_protocol protocol)
{
	const struct instance_settings *settings = config->parts[PART_INSTANCE].fields;

	return settings->proxy_from.count > 0 || (protocol.tls && settings->tls_client_ca != NULL &&
						     *settings->tls_client_ca != '\0');
}

/* Why it is unwise that everybody may use a transport of the instance; NULL = it is not. */
static const char *exposure(
    const struct instance_config *config, enum transport transport, struct wire_protocol protocol)
{
	if (transport == TRANSPORT_TCP)
		return has_users(config) || is_restricted(config, protocol)
			   ? NULL
			   : service_of(config->kind)->exposes;
	if (transport == TRANSPORT_UDP && config->parts[PART_DATAGRAMS].rows != NULL)
		return "answers everybody, and the source of a datagram can be forged";
	return NULL;
}

static bool has_stream(const struct addresses *listen)
{
	for (size_t i = 0; i < listen->count; i++)
		if (transport_is_stream(listen->items[i].transport))
			return true;
	return false;
}

/* The first address of streams that no proxy of proxy_from can connect to; NULL = there is none. */
static const struct address *find_unusable(const struct instance_settings *settings)
{
	bool at_unix = false, at_ip = false;

	for (size_t i = 0; i < settings->proxy_from.count; i++) {
		at_unix |= settings->proxy_from.items[i].is_unix;
		at_ip |= !settings->proxy_from.items[i].is_unix;
	}
	for (size_t i = 0; i < settings->listen.count; i++) {
		const struct address *address = &settings->listen.items[i];

		if (transport_is_stream(address->transport) &&
		    !(address->transport == TRANSPORT_UNIX ? at_unix : at_ip))
			return address;
	}
	return NULL;
}

/* 0, or -1 with a warning. */
static int check_proxies(const struct instance_config *config, struct error *error)
{
	const struct instance_settings *settings = config->parts[PART_INSTANCE].fields;
	const struct address *unusable;

	if (settings->proxy_from.count == 0)
		return 0;
	/* The service manager may have sockets for it, unless it has none at all. */
	if (!has_stream(&settings->listen) &&
	    (settings->listen.count > 0 || service_of(config->kind)->transports == 0))
		return error_key(error, "proxy_from",
		    settings->listen.count > 0
			? "has no effect: the service has no address of streams, only of datagrams"
			: "has no effect: nobody connects to the service");
	unusable = find_unusable(settings);
	if (unusable == NULL)
		return 0;
	return error_key(error, "proxy_from", "nobody can use %s: no proxy here is %s",
	    unusable->text, unusable->transport == TRANSPORT_UNIX ? "\"unix\"" : "an IP address");
}

int service_warn(const struct instance_config *config, struct error *error)
{
	const struct instance_settings *settings = config->parts[PART_INSTANCE].fields;
	const char *key = tls_settings_own(config);

	for (size_t i = 0; i < settings->listen.count; i++) {
		const struct address *address = &settings->listen.items[i];

		if (is_login_in_clear(config, address->transport, address->protocol) &&
		    !address_is_loopback(address))
			return error_key(error, address->text, LOGIN_IN_CLEAR, address->text,
			    address->protocol.resp ? "rediss://" : "tls://");
	}
	for (size_t i = 0; settings->allow.count == 0 && i < settings->listen.count; i++) {
		const struct address *address = &settings->listen.items[i];
		const char *what = exposure(config, address->transport, address->protocol);

		if (what != NULL &&
		    (address->transport == TRANSPORT_TCP ? !address_is_loopback(address)
							 : address_is_public(address)))
			return error_key(error, address->text, "%s %s; restrict it with allow",
			    address->text, what);
	}
	if (check_proxies(config, error) == -1)
		return -1;
	if (key != NULL && !tls_settings_needed(config))
		return error_key(
		    error, key, "has no effect: no address of the service is tls:// or rediss://");
	return 0;
}

int service_warn_inherited(
    const struct instance_config *config, const struct endpoint *endpoint, struct error *error)
{
	const struct instance_settings *settings = config->parts[PART_INSTANCE].fields;
	const char *what = exposure(config, endpoint->transport, endpoint->protocol);
	char text[ADDRESS_TEXT_MAX];

	if (is_login_in_clear(config, endpoint->transport, endpoint->protocol) &&
	    !endpoint_is_loopback(endpoint))
		return error_set(error, LOGIN_IN_CLEAR,
		    endpoint_format(endpoint, text, sizeof(text)),
		    endpoint->protocol.resp ? "rediss://" : "tls://");
	if (what == NULL || settings->allow.count > 0 || endpoint_is_loopback(endpoint))
		return 0;
	return error_set(error, "%s, from the service manager, %s; restrict it with allow",
	    endpoint_format(endpoint, text, sizeof(text)), what);
}

int service_verify(const struct instance_config *config, const char *user, struct strings *errors)
{
	const struct service_ops *ops = service_of(config->kind);
	bool lends = user != NULL && geteuid() == 0;
	struct error error;
	size_t part;
	int result;

	if (ops->verify == NULL)
		return 0;
	if (privilege_lend(user, &error) == -1)
		return errors_add(
		    errors, &config->origin, "services.%s: %s", config->name, error.text);
	result = ops->verify(config, &error);
	privilege_return();
	if (result == -1) {
		const struct option_row *row = config_kind_row(config->kind, error.key, &part);

		errors_add(errors, option_origin(&config->parts[part], row),
		    "services.%s.%s: %s%s%s", config->name, error.key, error.text,
		    lends ? ", for the user " : "", lends ? user : "");
	}
	return result;
}

/* As service_prepare(); `warnings` NULL = all are errors. */
static int prepare(const struct instance_config *config, const char *user, void **prepared,
    struct strings *errors, struct strings *warnings)
{
	const struct service_ops *ops = service_of(config->kind);
	bool lends = user != NULL && geteuid() == 0;
	const struct option_origin *origin;
	struct strings found = { 0 };
	struct error error;
	int result, code = 0;

	*prepared = NULL;
	if (ops->prepare == NULL || *service_string(config, ops->prepared) == '\0')
		return 0;
	if (privilege_lend(user, &error) == -1)
		return errors_add(
		    errors, &config->origin, "services.%s: %s", config->name, error.text);
	*prepared = ops->prepare(config, &found, &code);
	privilege_return();
	origin = option_origin_of(&config->parts[PART_OWN], ops->prepared);
	for (size_t i = 0; i < found.count; i++)
		if (warnings != NULL && code == EACCES && user != NULL && !lends)
			errors_add(warnings, origin,
			    "services.%s.%s: %s; only root can test what the user %s may read",
			    config->name, ops->prepared, found.items[i], user);
		else
			errors_add(errors, origin, "services.%s.%s: %s%s%s", config->name,
			    ops->prepared, found.items[i],
			    lends && code != 0 ? ", for the user " : "",
			    lends && code != 0 ? user : "");
	errors->lost |= found.lost;
	result = found.count > 0 || found.lost ? -1 : 0;
	strings_clear(&found);
	return result;
}

int service_prepare(
    const struct instance_config *config, const char *user, void **prepared, struct strings *errors)
{
	return prepare(config, user, prepared, errors, NULL);
}

void service_drop_prepared(const struct instance_config *config, void *prepared)
{
	if (prepared != NULL)
		service_of(config->kind)->drop_prepared(prepared);
}

void service_check_prepared(const struct instance_config *config, const char *user,
    struct strings *errors, struct strings *warnings)
{
	void *prepared;

	prepare(config, user, &prepared, errors, warnings);
	service_drop_prepared(config, prepared);
}

void strip(const char **bytes, size_t *length)
{
	while (*length > 0 && is_space((*bytes)[*length - 1]))
		(*length)--;
	while (*length > 0 && is_space(**bytes)) {
		(*bytes)++;
		(*length)--;
	}
}
