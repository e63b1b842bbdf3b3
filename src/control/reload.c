/* reload: the changed configuration in force, or the reason why not. */
#include <event2/buffer.h>
#include <string.h>

#include "control/json.h"
#include "control/request.h"
#include "server.h"

static json_t *json_texts(const struct texts *texts)
{
	json_t *array = json_array();

	for (size_t i = 0; i < texts->count; i++)
		json_array_append_new(array, json_text(texts->items[i]));
	return array;
}

static json_t *reload(struct request *request)
{
	struct server *server = request->server;
	struct texts warnings = { 0 };
	json_t *answer = NULL;

	request_log(request, "reload");
	if (server_reload(server, &request->details, &warnings) == -1)
		request_refuse(request, "reload failed, the running configuration stays");
	else
		answer = json_pack("{s:o, s:o}", "reloaded", json_text(server->config_file),
		    "warnings", json_texts(&warnings));
	texts_clear(&warnings);
	return answer;
}

static void show_reload(json_t *answer, struct evbuffer *out)
{
	json_t *warnings = json_object_get(answer, "warnings"), *warning;
	size_t i;

	json_array_foreach (warnings, i, warning) {
		evbuffer_add_printf(out, "warning: ");
		show_text(json_string_value(warning), out);
		evbuffer_add_printf(out, "\n");
	}
	evbuffer_add_printf(out, "reloaded ");
	show_text(json_string_of(answer, "reloaded"), out);
	evbuffer_add_printf(out, "\n");
}

const struct command command_reload = {
	.name = "reload",
	.arguments = "",
	.help = "put the changed configuration in force",
	.answer = reload,
	.show = show_reload,
};
