/* stats: every counter under a name of its own, in the format that Prometheus reads. */
#include <event2/buffer.h>

#include "control/request.h"
#include "observe/metrics.h"

static void stats_show(json_t *answer, struct evbuffer *out)
{
	const char *name;
	json_t *value;

	json_object_foreach (answer, name, value) {
		if (json_is_integer(value))
			evbuffer_add_printf(
			    out, "%s %" JSON_INTEGER_FORMAT "\n", name, json_integer_value(value));
		else
			evbuffer_add_printf(out, "%s %.6f\n", name, json_real_value(value));
	}
}

const struct command command_stats = {
	.gather = metrics_gather,
	.show = stats_show,
};
