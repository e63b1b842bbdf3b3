/* listeners: every address with its service, whether it is served, and where the config asks for it. */
#include <event2/buffer.h>

#include "control/request.h"
#include "control/show.h"
#include "observe/listeners.h"

static void listeners_show(json_t *answer, struct evbuffer *out)
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
	.gather = listeners_gather,
	.show = listeners_show,
};
