/*
 * Whether it is well, on one screen: what needs a look first. Every line begins with whom it is about, as
 * in the log, where SIGUSR2 puts the same lines.
 */
#include "control/status.h"

#include <event2/buffer.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/facts.h"
#include "control/json.h"
#include "control/request.h"
#include "core/log.h"

#define LINE_SIZE 1024

static void show_config(const json_t *config, struct evbuffer *out)
{
	char failed[32];

	evbuffer_add_printf(out, "echod: configuration ");
	show_text(json_string_of(config, "file"), out);
	evbuffer_add_printf(out, ", in force since %s\n", json_string_of(config, "loaded"));
	if (json_is_null(json_object_get(config, "failed")))
		return;
	evbuffer_add_printf(
	    out, "echod: a reload has failed at %s\n", json_show(config, "failed", failed, 32));
}

static void show_process(const json_t *status, struct evbuffer *out)
{
	const json_t *clients = json_object_get(status, "clients");
	const json_t *loop = json_object_get(status, "loop");
	const json_t *process = json_object_get(status, "process");
	const json_t *log = json_object_get(status, "log");
	char memory[32], cpu[32];

	evbuffer_add_printf(out, "echod: %" PRId64 " of %" PRId64 " clients",
	    json_number(clients, "now"), json_number(clients, "limit"));
	if (json_number(clients, "leaving") > 0)
		evbuffer_add_printf(out, " (%" PRId64 " are leaving after a reload)",
		    json_number(clients, "leaving"));
	evbuffer_add_printf(out, ", %" PRId64 " programs\n", json_number(clients, "programs"));
	evbuffer_add_printf(out,
	    "echod: a client's turn comes after %.2f ms (99 %%: %.2f ms, longest ever: %.2f ms)\n",
	    (double)json_number(loop, "lag_us") / 1e3,
	    (double)json_number(loop, "lag_p99_us") / 1e3,
	    (double)json_number(loop, "longest_lag_us") / 1e3);
	evbuffer_add_printf(out, "echod: %s of memory, %.1f %% of a CPU (since the start: %s)\n",
	    show_bytes((uint64_t)json_number(process, "memory_bytes"), memory, sizeof(memory)),
	    json_real_value(json_object_get(process, "cpu_percent")),
	    show_duration(json_number(process, "cpu_ms"), cpu, sizeof(cpu)));
	evbuffer_add_printf(out, "echod: log level %s, %" PRId64 " lines lost\n",
	    json_string_of(log, "level"), json_number(log, "lost"));
}

/* " name=count" each, or " none". */
static void show_counts(json_t *counts, struct evbuffer *out)
{
	const char *name;
	json_t *count;

	if (json_object_size(counts) == 0)
		evbuffer_add_printf(out, " none");
	json_object_foreach (counts, name, count)
		evbuffer_add_printf(
		    out, " %s=%" JSON_INTEGER_FORMAT, name, json_integer_value(count));
	evbuffer_add_printf(out, "\n");
}

static bool is_in_bytes(const char *name)
{
	const char *unit = strrchr(name, '_');

	return unit != NULL && strcmp(unit, "_bytes") == 0;
}

static void show_report(const char *service, json_t *report, struct evbuffer *out)
{
	const char *name, *separator = "";
	char text[LINE_SIZE];
	json_t *value;

	if (json_object_size(report) == 0)
		return;
	evbuffer_add_printf(out, "%s: ", service);
	json_object_foreach (report, name, value) {
		bool bytes = is_in_bytes(name);
		int length = (int)strlen(name) - (bytes ? (int)strlen("_bytes") : 0);

		if (bytes)
			show_bytes((uint64_t)json_integer_value(value), text, sizeof(text));
		else
			json_show(report, name, text, sizeof(text));
		evbuffer_add_printf(out, "%s%.*s %s", separator, length, name, text);
		separator = ", ";
	}
	evbuffer_add_printf(out, "\n");
}

static void show_totals(const char *name, const json_t *service, struct evbuffer *out)
{
	const json_t *clients = json_object_get(service, "clients");
	int64_t in = json_number(service, "datagrams_in"), programs;
	int64_t sent = json_number(service, "datagrams_out");
	char bytes_in[32], bytes_out[32];

	evbuffer_add_printf(out,
	    "%s: %" PRId64 " of %" PRId64 " clients, %" PRId64 " accepted, %s in, %s out", name,
	    json_number(clients, "now"), json_number(clients, "limit"),
	    json_number(service, "accepted"),
	    show_bytes((uint64_t)json_number(service, "bytes_in"), bytes_in, sizeof(bytes_in)),
	    show_bytes((uint64_t)json_number(service, "bytes_out"), bytes_out, sizeof(bytes_out)));
	if ((programs = json_number(service, "programs")) > 0)
		evbuffer_add_printf(out, ", %" PRId64 " programs", programs);
	if (in + sent > 0)
		evbuffer_add_printf(out, ", %" PRId64 " datagrams in, %" PRId64 " out", in, sent);
	evbuffer_add_printf(out, "\n");
}

static void show_service(const json_t *service, struct evbuffer *out)
{
	const char *name = json_string_of(service, "name");
	json_t *addresses = json_object_get(service, "addresses"), *address;
	size_t i;

	json_array_foreach (addresses, i, address)
		evbuffer_add_printf(out, "%s: serves %s\n", name, json_string_value(address));
	show_totals(name, service, out);
	show_report(name, json_object_get(service, "report"), out);
	evbuffer_add_printf(out, "%s: closed:", name);
	show_counts(json_object_get(service, "closed"), out);
	evbuffer_add_printf(out, "%s: errors:", name);
	show_counts(json_object_get(service, "errors"), out);
}

static void show_head(const json_t *status, struct evbuffer *out)
{
	json_t *problems = json_object_get(status, "problems"), *problem;
	char uptime[32];
	size_t i;

	evbuffer_add_printf(out, "echod: version %s, process %" PRId64 ", up %s: %s\n",
	    json_string_of(status, "version"), json_number(status, "pid"),
	    show_duration(json_number(status, "uptime_ms"), uptime, sizeof(uptime)),
	    json_array_size(problems) == 0 ? "all is well" : "needs a look");
	json_array_foreach (problems, i, problem) {
		evbuffer_add_printf(out, "echod: problem: ");
		show_text(json_string_value(problem), out);
		evbuffer_add_printf(out, "\n");
	}
}

static void show(json_t *status, struct evbuffer *out)
{
	json_t *services = json_object_get(status, "services"), *service;
	size_t i;

	show_head(status, out);
	show_config(json_object_get(status, "config"), out);
	show_process(status, out);
	json_array_foreach (services, i, service) {
		evbuffer_add_printf(out, "\n");
		show_service(service, out);
	}
}

static json_t *answer(struct request *request)
{
	return facts_gather(request->server);
}

const struct command command_status = {
	.name = "status",
	.arguments = "",
	.help = "say whether the daemon is well",
	.answer = answer,
	.show = show,
};

void status_log(const struct server *server)
{
	struct evbuffer *out = evbuffer_new();
	json_t *status = facts_gather(server);
	char *line;

	if (out != NULL && status != NULL)
		show(status, out);
	while (out != NULL && (line = evbuffer_readln(out, NULL, EVBUFFER_EOL_LF)) != NULL) {
		if (*line != '\0')
			log_info("%s", line);
		free(line);
	}
	json_decref(status);
	if (out != NULL)
		evbuffer_free(out);
}
