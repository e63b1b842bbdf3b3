/*
 * Whether it is well, on one screen: what needs a look first. Every line begins with whom it is about, as
 * in the log, where SIGUSR2 puts the same lines.
 */
#include <event2/buffer.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/request.h"
#include "control/show.h"
#include "core/log.h"
#include "core/plural.h"
#include "observe/status.h"
#include "services/host.h"

#define LINE_SIZE 1024
#define SCREEN_WIDTH 80
#define CERTIFICATE_NAMES 4

/* Items about somebody; where the screen ends, they go on in a line of the same beginning. */
struct items {
	struct evbuffer *out;
	const char *who, *head;
	int column; /* 0 = there is none yet */
};

static void items_add(struct items *items, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void items_add(struct items *items, const char *format, ...)
{
	char item[LINE_SIZE];
	va_list args;
	int length;

	va_start(args, format);
	length = vsnprintf(item, sizeof(item), format, args);
	va_end(args);
	if (items->column > 0 && items->column + length + 2 >= SCREEN_WIDTH) {
		evbuffer_add_printf(items->out, "\n");
		items->column = 0;
	}
	if (items->column > 0)
		items->column += evbuffer_add_printf(items->out, ", %s", item);
	else
		items->column =
		    evbuffer_add_printf(items->out, "%s: %s%s", items->who, items->head, item);
}

static void items_add_clients(struct items *items, const json_t *clients)
{
	int64_t limit = json_number(clients, "limit");

	items_add(items, "%" PRId64 " of %" PRId64 " client%s", json_number(clients, "now"), limit,
	    PLURAL(limit, "s"));
}

static void items_end(const struct items *items)
{
	if (items->column > 0)
		evbuffer_add_printf(items->out, "\n");
}

static void show_process(const json_t *status, struct evbuffer *out)
{
	const json_t *clients = json_object_get(status, "clients");
	const json_t *process = json_object_get(status, "process");
	const json_t *log = json_object_get(status, "log");
	const json_t *loop = json_object_get(status, "loop");
	int64_t programs = json_number(clients, "programs"), lost = json_number(log, "lost");
	struct items items = { out, "echod", "", 0 };
	char memory[32], cpu[32], target[512];

	log_escape_controls(target, sizeof(target), json_string_of(log, "target"));
	items_add_clients(&items, clients);
	if (json_number(clients, "leaving") > 0)
		items_add(
		    &items, "%" PRId64 " leaving after a reload", json_number(clients, "leaving"));
	items_add(&items, "%" PRId64 " program%s", programs, PLURAL(programs, "s"));
	items_add(&items, "%s of memory",
	    show_bytes((uint64_t)json_number(process, "memory_bytes"), memory, sizeof(memory)));
	items_add(&items, "%.1f %% of a CPU (since the start: %s)",
	    json_real_value(json_object_get(process, "cpu_percent")),
	    show_duration(json_number(process, "cpu_ms"), cpu, sizeof(cpu)));
	items_add(&items, "log level %s to %s", json_string_of(log, "level"), target);
	items_add(&items, "%" PRId64 " line%s lost", lost, PLURAL(lost, "s"));
	items_end(&items);
	evbuffer_add_printf(out,
	    "echod: event-loop delay: median %.2f ms, 99th percentile %.2f ms, max %.2f ms\n",
	    (double)json_number(loop, "lag_us") / 1e3,
	    (double)json_number(loop, "lag_p99_us") / 1e3,
	    (double)json_number(loop, "longest_lag_us") / 1e3);
}

/* Reasons and how often; nothing when there is none. */
static void show_counts(
    const json_t *service, const char *key, const char *head, struct evbuffer *out)
{
	struct items items = { out, json_string_of(service, "name"), head, 0 };
	const char *name;
	json_t *count;

	json_object_foreach (json_object_get(service, key), name, count)
		items_add(&items, "%s=%" JSON_INTEGER_FORMAT, name, json_integer_value(count));
	items_end(&items);
}

/* "commit_failures_total" is for programs; people read "commit failures". Returns whether it ends so. */
static bool cut_suffix(char *name, const char *suffix)
{
	size_t length = strlen(name), end = strlen(suffix);
	bool there = length > end && strcmp(name + length - end, suffix) == 0;

	if (there)
		name[length - end] = '\0';
	return there;
}

/* What only the service knows of its state. */
static void show_report(const json_t *service, struct evbuffer *out)
{
	json_t *report = json_object_get(service, "report"), *fact;
	struct items items = { out, json_string_of(service, "name"), "", 0 };
	char name[64], value[LINE_SIZE];
	const char *key;

	json_object_foreach (report, key, fact) {
		snprintf(name, sizeof(name), "%s", key);
		if (cut_suffix(name, "_bytes"))
			show_bytes((uint64_t)json_integer_value(fact), value, sizeof(value));
		else
			json_show(report, key, value, sizeof(value));
		cut_suffix(name, "_total");
		for (char *at = name; (at = strchr(at, '_')) != NULL;)
			*at = ' ';
		items_add(&items, "%s %s", name, value);
	}
	items_end(&items);
}

static void show_certificates(const json_t *service, struct evbuffer *out)
{
	const char *who = json_string_of(service, "name");
	json_t *certificates = json_object_get(json_object_get(service, "tls"), "certificates");
	json_t *certificate, *name;
	size_t i, j;

	json_array_foreach (certificates, i, certificate) {
		json_t *names = json_object_get(certificate, "names");

		evbuffer_add_printf(out, "%s: ", who);
		show_between("certificate ", json_string_of(certificate, "file"), "", out);
		json_array_foreach (names, j, name)
			if (j < CERTIFICATE_NAMES)
				show_between(
				    j == 0 ? " for " : ", ", json_string_value(name), "", out);
		if (j > CERTIFICATE_NAMES)
			evbuffer_add_printf(out, " and %zu more", j - CERTIFICATE_NAMES);
		evbuffer_add_printf(
		    out, ", valid until %s\n", json_string_of(certificate, "not_after"));
	}
}

static void show_service(const json_t *service, struct evbuffer *out)
{
	const json_t *clients = json_object_get(service, "clients");
	json_t *addresses = json_object_get(service, "addresses"), *address;
	int64_t programs = json_number(service, "programs");
	int64_t in = json_number(service, "datagrams_in");
	int64_t sent = json_number(service, "datagrams_out");
	struct items serves = { out, json_string_of(service, "name"), "serves ", 0 };
	struct items totals = { out, json_string_of(service, "name"), "", 0 };
	char bytes[32];
	size_t i;

	json_array_foreach (addresses, i, address)
		items_add(&serves, "%s", json_string_value(address));
	items_end(&serves);
	show_certificates(service, out);
	items_add_clients(&totals, clients);
	items_add(&totals, "%" PRId64 " accepted", json_number(service, "accepted"));
	items_add(&totals, "%s in",
	    show_bytes((uint64_t)json_number(service, "bytes_in"), bytes, sizeof(bytes)));
	items_add(&totals, "%s out",
	    show_bytes((uint64_t)json_number(service, "bytes_out"), bytes, sizeof(bytes)));
	if (programs > 0)
		items_add(&totals, "%" PRId64 " program%s", programs, PLURAL(programs, "s"));
	if (in + sent > 0)
		items_add(&totals, "%" PRId64 " datagram%s in, %" PRId64 " out", in,
		    PLURAL(in, "s"), sent);
	items_end(&totals);
	show_report(service, out);
	show_counts(service, "closed", "closed: ", out);
	show_counts(service, "refused", "refused: ", out);
	show_counts(service, "tls_failures", "TLS failures: ", out);
	show_counts(service, "errors", "errors: ", out);
}

static void status_show(json_t *status, struct evbuffer *out)
{
	const json_t *config = json_object_get(status, "config");
	json_t *problems = json_object_get(status, "problems"), *problem;
	json_t *services = json_object_get(status, "services"), *service;
	json_t *warnings = json_object_get(status, "warnings");
	char uptime[32], failed[32];
	size_t i;

	evbuffer_add_printf(out, "echod: version %s, process %" PRId64 ", up %s: %s\n",
	    json_string_of(status, "version"), json_number(status, "pid"),
	    show_duration(json_number(status, "uptime_ms"), uptime, sizeof(uptime)),
	    json_array_size(problems) == 0 ? "all is well" : "needs a look");
	json_array_foreach (problems, i, problem)
		show_between("echod: problem: ", json_string_value(problem), "\n", out);
	json_array_foreach (warnings, i, problem)
		show_between("echod: warning: ", json_string_value(problem), "\n", out);
	show_between("echod: configuration ", json_string_of(config, "file"), "", out);
	evbuffer_add_printf(out, ", in force since %s\n", json_string_of(config, "loaded"));
	if (json_is_true(json_object_get(config, "reloading")))
		evbuffer_add_printf(
		    out, "echod: a reload is %s\n", json_string_of(config, "reload_step"));
	if (!json_is_null(json_object_get(config, "failed")))
		evbuffer_add_printf(out, "echod: a reload has failed at %s\n",
		    json_show(config, "failed", failed, sizeof(failed)));
	show_process(status, out);
	evbuffer_add_printf(out, "\n");
	json_array_foreach (services, i, service)
		show_service(service, out);
}

const struct command command_status = {
	.gather = status_gather,
	.show = status_show,
};

void status_dump(const struct host *host)
{
	struct evbuffer *out = evbuffer_new();
	json_t *status = status_gather(host->server);
	char *line;

	if (out != NULL && status != NULL)
		status_show(status, out);
	while (out != NULL && (line = evbuffer_readln(out, NULL, EVBUFFER_EOL_LF)) != NULL) {
		if (*line != '\0')
			log_info("%s", line);
		free(line);
	}
	json_decref(status);
	if (out != NULL)
		evbuffer_free(out);
}
