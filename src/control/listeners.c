/* listeners: every address with its service, whether it is served, and where the config asks for it. */
#include <event2/buffer.h>
#include <event2/event.h>

#include "control/json.h"
#include "control/request.h"
#include "net/listener.h"
#include "net/loop.h"
#include "server.h"

/* "open"; or why nobody gets in. */
static const char *state_of(const struct listener *listener)
{
	if (listener->socket.fd == -1)
		return endpoint_is_group(&listener->wanted) ? "waiting" : "absent";
	if (!socket_is_reachable(&listener->socket))
		return "unreachable";
	if (event_pending(listener->event, EV_READ, NULL))
		return "open";
	return listener->loop->pause != 0 ? "paused" : "full";
}

static json_t *describe(const struct listener *listener)
{
	static const struct option_origin no_file = { 0 };
	const struct instance_config *config = listener->instance->config;
	bool inherited = listener->inherited != NULL;
	char address[ADDRESS_TEXT_MAX];
	json_t *json = json_pack("{s:s, s:s, s:o, s:s, s:b}", "service", config->name, "type",
	    config->kind->type, "address",
	    json_text(endpoint_format(listener_endpoint(listener), address, sizeof(address))),
	    "state", state_of(listener), "inherited", inherited);

	json_add_place(
	    json, inherited ? &no_file : option_origin_of(&config->parts[PART_INSTANCE], "listen"));
	return json;
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

	evbuffer_add_printf(out, "%-16s %-11s %-40s %s\n", "SERVICE", "STATE", "ADDRESS", "FROM");
	json_array_foreach (list, i, listener) {
		evbuffer_add_printf(out, "%-16s %-11s %-40s ", json_string_of(listener, "service"),
		    json_string_of(listener, "state"), json_string_of(listener, "address"));
		if (json_is_true(json_object_get(listener, "inherited")))
			evbuffer_add_printf(out, "the service manager");
		else
			show_place(listener, out);
		evbuffer_add_printf(out, "\n");
	}
}

const struct command command_listeners = {
	.name = "listeners",
	.arguments = "",
	.help = "list the addresses that are served",
	.answer = answer,
	.show = show,
};
