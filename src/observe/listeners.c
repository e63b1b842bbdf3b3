/* A listener's state is derived from its socket and its acceptor each time; nothing of it is stored. */
#include "observe/listeners.h"

#include "core/config.h"
#include "net/acceptor.h"
#include "net/instance.h"
#include "net/listener.h"
#include "net/loop.h"
#include "observe/json.h"
#include "server.h"

/* "open", or why it accepts no clients. */
static const char *state_of(const struct listener *listener)
{
	if (listener->socket.fd == -1)
		return endpoint_is_group(&listener->wanted) ? "waiting" : "absent";
	if (!socket_is_reachable(&listener->socket))
		return "unreachable";
	if (!listener->acceptor.waits)
		return "open";
	return acceptors_are_paused(listener->loop->acceptors) ? "paused" : "full";
}

json_t *listeners_gather(const struct server *server)
{
	static const struct option_origin no_file = { 0 };
	json_t *listeners = json_array(), *json;
	const struct instance *instance;
	const struct listener *listener;

	TAILQ_FOREACH (instance, &server->running.loop->instances, entry) {
		const struct instance_config *config = instance->config;

		TAILQ_FOREACH (listener, &instance->listeners, entry) {
			bool inherited = listener->inherited != NULL;

			json = json_pack("{s:s, s:s, s:o, s:s, s:b}", "service", config->name,
			    "type", config->kind->type, "address",
			    json_endpoint(listener_endpoint(listener)), "state", state_of(listener),
			    "inherited", inherited);
			json_add_place(json,
			    inherited ? &no_file
				      : option_origin_of(&config->parts[PART_INSTANCE], "listen"));
			json_array_append_new(listeners, json);
		}
	}
	return json_pack("{s:o}", "listeners", listeners);
}
