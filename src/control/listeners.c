/* listeners: every address with its service, whether it is served, and where the config asks for it. */
#include <event2/buffer.h>
#include <event2/event.h>
#include <string.h>

#include "control/json.h"
#include "control/request.h"
#include "net/listener.h"
#include "net/loop.h"
#include "server.h"

/* "open"; or why nobody gets in. */
static const char *state_of(const struct listener *listener)
{
	if (listener->socket.fd == -1)
		return "waiting"; /* for its network */
	if (event_pending(listener->event, EV_READ, NULL))
		return "open";
	return listener->loop->pause != 0 ? "paused" : "full";
}

static json_t *describe(const struct listener *listener)
{
	const struct instance *instance = listener->instance;
	const struct option_section *section = &instance->config->parts[PART_INSTANCE];
	const struct option_origin *origin =
	    option_origin(section, option_find(section->rows, "listen"));
	const struct endpoint *endpoint =
	    listener->socket.fd == -1 ? &listener->wanted : &listener->socket.endpoint;
	char address[ADDRESS_TEXT_MAX];

	return json_pack("{s:s, s:s, s:o, s:s, s:o, s:i}", "service", instance->name, "type",
	    instance->config->kind->type, "address",
	    json_text(endpoint_format(endpoint, address, sizeof(address))), "state",
	    state_of(listener), "file", json_text(origin->file), "line", origin->line);
}

static json_t *answer(struct request *request)
{
	json_t *list = json_array();
	const struct instance *instance;
	const struct listener *listener;

	TAILQ_FOREACH (instance, &request->server->loop->instances, entry)
		TAILQ_FOREACH (listener, &instance->listeners, entry)
			json_array_append_new(list, describe(listener));
	return json_pack("{s:o}", "listeners", list);
}

static void show(json_t *answer, struct evbuffer *out)
{
	json_t *list = json_object_get(answer, "listeners"), *listener;
	size_t i;

	evbuffer_add_printf(out, "%-16s %-8s %-40s %s\n", "SERVICE", "STATE", "ADDRESS", "FROM");
	json_array_foreach (list, i, listener) {
		evbuffer_add_printf(out, "%-16s %-8s %-40s ", json_string_of(listener, "service"),
		    json_string_of(listener, "state"), json_string_of(listener, "address"));
		show_text(json_string_of(listener, "file"), out);
		evbuffer_add_printf(out, ":%d\n", (int)json_number(listener, "line"));
	}
}

const struct command command_listeners = {
	.name = "listeners",
	.arguments = "",
	.help = "list the addresses that are served",
	.answer = answer,
	.show = show,
};
