/* The table of services, and what holds for all of them. */
#include "services/service.h"

#include <stdio.h>

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

const struct handlers *service_handlers(const struct instance_config *config)
{
	const struct service_ops *ops = service_of(config->kind);

	return ops->choose != NULL ? ops->choose(config->parts[PART_OWN].fields) : ops->handlers;
}

void service_stop(struct instance *instance)
{
	const struct service_ops *ops = service_of(instance->config->kind);

	if (ops->stop != NULL)
		ops->stop(instance);
	instance_free(instance);
}

static int check_transport(
    const struct service_ops *ops, const struct address *address, char *why, size_t why_size)
{
	bool stream = transport_is_stream(address->transport);

	if (ops->transports & (stream ? SERVICE_STREAM : SERVICE_DATAGRAM))
		return 0;
	snprintf(why, why_size, "expected %s, got \"%s\": %s is a service for %s only",
	    stream ? "udp:// or unixgram://" : "tcp:// or unix://", address->text, ops->kind.type,
	    stream ? "datagrams" : "streams");
	return -1;
}

int service_check(
    const struct instance_config *config, const char **key, char *why, size_t why_size)
{
	const struct service_ops *ops = service_of(config->kind);
	const struct instance_settings *settings = config->parts[PART_INSTANCE].fields;

	*key = "listen";
	if (settings->enabled && settings->listen.count == 0) {
		snprintf(why, why_size,
		    "expected an address such as \"tcp://127.0.0.1:5566\", got none");
		return -1;
	}
	for (size_t i = 0; i < settings->listen.count; i++)
		if (check_transport(ops, &settings->listen.items[i], why, why_size) == -1)
			return -1;
	return ops->check != NULL ? ops->check(config, key, why, why_size) : 0;
}

bool is_space(char byte)
{
	return byte == ' ' || (byte >= '\t' && byte <= '\r');
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
