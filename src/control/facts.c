/*
 * Gathering: the process, the configuration, and each service with its addresses, clients, totals and
 * errors. What needs a look is collected on the way.
 */
#include "control/facts.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "build.h"
#include "control/json.h"
#include "core/clock.h"
#include "core/resident.h"
#include "net/listener.h"
#include "net/pulse.h"
#include "server.h"
#include "services/service.h"

#define LATE_US 100000 /* clients that wait longer for their turn will have noticed */
#define LOST_MS (60 * 60 * 1000)
#define LINE_SIZE 1024

/* Adds a sentence to the array of what needs a look. */
static void add_problem(json_t *problems, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add_problem(json_t *problems, const char *format, ...)
{
	char text[LINE_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	json_array_append_new(problems, json_text(text));
}

static json_t *config_facts(const struct server *server, json_t *problems)
{
	const struct reloads *reloads = &server->reloads;

	if (reloads->failed_at != 0)
		add_problem(problems,
		    "the last reload failed, the configuration before it is in "
		    "force%s%s%s",
		    reloads->errors.count > 0 ? ": " : "",
		    reloads->errors.count > 0 ? reloads->errors.items[0] : "",
		    reloads->errors.count > 1 ? " (and more)" : "");
	return json_pack("{s:o, s:o, s:I, s:I, s:o, s:o, s:b}", "file",
	    json_text(server->config_file), "loaded", json_time(reloads->loaded_at), "reloads",
	    (json_int_t)reloads->done, "failures", (json_int_t)reloads->failed, "failed",
	    json_time(reloads->failed_at), "mistakes", json_strings(&reloads->errors), "reloading",
	    !TAILQ_EMPTY(&reloads->queue));
}

static json_t *client_facts(const struct loop *loop, json_t *problems)
{
	const struct instance *instance;
	size_t leaving = loop->streams;

	TAILQ_FOREACH (instance, &loop->instances, entry)
		leaving -= instance->stream_count;
	if (loop->streams >= loop->max_streams)
		add_problem(problems, "limits.max_connections is reached");
	if (loop->pause != 0)
		add_problem(problems, "out of file descriptors, accepting pauses");
	return json_pack("{s:I, s:I, s:I, s:I}", "now", (json_int_t)loop->streams, "limit",
	    (json_int_t)loop->max_streams, "leaving", (json_int_t)leaving, "programs",
	    (json_int_t)loop->children);
}

static json_t *loop_facts(const struct server *server, json_t *problems)
{
	struct pulse_facts pulse;

	pulse_read(server->pulse, &pulse);
	if (pulse.p99 > LATE_US)
		add_problem(problems, "the loop is late: of a hundred requests one waits %.0f ms",
		    (double)pulse.p99 / 1e3);
	return json_pack("{s:I, s:I, s:I, s:I}", "lag_us", (json_int_t)pulse.median, "lag_p99_us",
	    (json_int_t)pulse.p99, "lag_max_us", (json_int_t)pulse.max, "longest_lag_us",
	    (json_int_t)pulse.longest);
}

static int64_t microseconds(const struct timeval *tv)
{
	return (int64_t)tv->tv_sec * 1000000 + tv->tv_usec;
}

static json_t *process_facts(const struct server *server)
{
	struct pulse_facts pulse;
	struct rusage usage;

	pulse_read(server->pulse, &pulse);
	getrusage(RUSAGE_SELF, &usage);
	return json_pack("{s:I, s:I, s:I, s:f}", "memory_bytes", (json_int_t)resident_memory(),
	    "peak_memory_bytes", (json_int_t)usage.ru_maxrss * 1024, "cpu_ms",
	    (json_int_t)((microseconds(&usage.ru_utime) + microseconds(&usage.ru_stime)) / 1000),
	    "cpu_percent", pulse.cpu_share * 100);
}

static json_t *log_facts(json_t *problems)
{
	unsigned long lost = log_lost();

	if (log_has_lost_within(LOST_MS))
		add_problem(problems,
		    "the log has lost %lu lines, the last one within the past hour", lost);
	if (log_is_stale())
		add_problem(problems,
		    "the log file could not be reopened, lines go on to the file that was open: "
		    "correct its path or its mode, then run echoctl reopen");
	return json_pack("{s:s, s:I, s:o}", "level", log_level_name(log_level()), "lost",
	    (json_int_t)lost, "target", json_text(log_target()));
}

static json_t *closed_facts(const struct counters *counters)
{
	json_t *closed = json_object();

	for (int i = 0; i < CLOSE_REASONS; i++)
		if (counters->closed[i] > 0)
			json_object_set_new(closed, close_reason_name(i),
			    json_integer((json_int_t)counters->closed[i]));
	return closed;
}

static json_t *refused_facts(const struct counters *counters)
{
	json_t *refused = json_object();

	for (int i = LIMIT_NONE + 1; i < LIMITS; i++)
		if (counters->refused[i] > 0)
			json_object_set_new(
			    refused, limit_name(i), json_integer((json_int_t)counters->refused[i]));
	return refused;
}

static json_t *drop_facts(const struct counters *counters)
{
	json_t *dropped = json_object();

	for (int i = DROP_NOT + 1; i < DROP_REASONS; i++)
		if (counters->drops[i] > 0)
			json_object_set_new(dropped, drop_reason_name(i),
			    json_integer((json_int_t)counters->drops[i]));
	return dropped;
}

/* Those of both that somebody may want to know of. */
static json_t *error_facts(const struct counters *counters)
{
	json_t *errors = json_object();
	char name[64];

	for (int i = 0; i < CLOSE_REASONS; i++)
		if (counters->closed[i] > 0 && close_reason_is_bad(i))
			json_object_set_new(errors, close_reason_name(i),
			    json_integer((json_int_t)counters->closed[i]));
	for (int i = DROP_NOT + 1; i < DROP_REASONS; i++) {
		if (counters->drops[i] == 0 || i == DROP_ANSWER)
			continue;
		snprintf(name, sizeof(name), "dropped_%s", drop_reason_name(i));
		json_object_set_new(errors, name, json_integer((json_int_t)counters->drops[i]));
	}
	return errors;
}

/* A service's own report, into JSON. */
struct json_report {
	struct report report;
	const char *service;
	json_t *facts, *problems;
};

static void report_number(struct report *report, const char *name, uint64_t value)
{
	json_object_set_new(
	    ((struct json_report *)report)->facts, name, json_integer((json_int_t)value));
}

static void report_text(struct report *report, const char *name, const char *value)
{
	json_object_set_new(((struct json_report *)report)->facts, name, json_text(value));
}

static void report_problem(struct report *report, const char *sentence)
{
	struct json_report *to = (struct json_report *)report;

	add_problem(to->problems, "%s: %s", to->service, sentence);
}

static json_t *own_facts(const struct instance *instance, json_t *problems)
{
	const struct service_ops *ops = service_of(instance->config->kind);
	struct json_report report = {
		.report = { report_number, report_text, report_problem },
		.service = instance->name,
		.facts = json_object(),
		.problems = problems,
	};

	if (ops->report != NULL)
		ops->report(instance, &report.report);
	return report.facts;
}

static json_t *address_facts(const struct instance *instance, json_t *problems)
{
	const struct listener *listener;
	json_t *addresses = json_array();
	char text[ADDRESS_TEXT_MAX];

	TAILQ_FOREACH (listener, &instance->listeners, entry) {
		endpoint_format(listener_endpoint(listener), text, sizeof(text));
		if (listener->absent != 0 && endpoint_is_group(&listener->wanted))
			add_problem(problems, "%s: %s waits for its network: %s", instance->name,
			    text, strerror(listener->absent));
		else if (listener->absent != 0)
			add_problem(problems,
			    "%s: %s is not served: cannot bind it: %s; a reload tries it again",
			    instance->name, text, strerror(listener->absent));
		else if (!socket_is_reachable(&listener->socket))
			add_problem(problems,
			    "%s: %s cannot be reached: its %s has been removed or replaced; %s",
			    instance->name, text,
			    transport_is_unix(listener->wanted.transport) ? "path" : "interface",
			    listener->inherited == NULL ? "a reload binds it again"
							: "restart its socket unit");
		if (listener->socket.fd != -1)
			json_array_append_new(addresses, json_text(text));
	}
	return addresses;
}

static json_t *service_facts(const struct instance *instance, json_t *problems)
{
	const struct counters *c = &instance->counters;

	enum limit limit = instance_limit(instance);

	if (limit != LIMIT_NONE && limit != LIMIT_ALL_CLIENTS)
		add_problem(problems, "%s: the limit of its clients is reached", instance->name);
	return json_pack("{s:s, s:s, s:o, s:{s:I, s:I}, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, "
			 "s:o, s:o, s:o}",
	    "name", instance->name, "type", instance->config->kind->type, "addresses",
	    address_facts(instance, problems), "clients", "now", (json_int_t)instance->stream_count,
	    "limit", (json_int_t)instance->settings->max_connections, "programs",
	    (json_int_t)instance->child_count, "accepted", (json_int_t)c->accepted, "bytes_in",
	    (json_int_t)c->bytes_in, "bytes_out", (json_int_t)c->bytes_out, "datagrams_in",
	    (json_int_t)c->datagrams_in, "datagrams_out", (json_int_t)c->datagrams_out, "closed",
	    closed_facts(c), "refused", refused_facts(c), "dropped", drop_facts(c), "errors",
	    error_facts(c), "report", own_facts(instance, problems));
}

json_t *facts_gather(const struct server *server)
{
	json_t *problems = json_array(), *services = json_array();
	json_t *config = config_facts(server, problems);
	json_t *clients = client_facts(server->loop, problems);
	json_t *loop = loop_facts(server, problems);
	json_t *log = log_facts(problems);
	const struct instance *instance;

	TAILQ_FOREACH (instance, &server->loop->instances, entry)
		json_array_append_new(services, service_facts(instance, problems));
	return json_pack("{s:s, s:I, s:I, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "version",
	    PACKAGE_VERSION, "pid", (json_int_t)getpid(), "uptime_ms",
	    (json_int_t)(clock_ms() - server->started), "stopping", server->phase == SERVER_STOPS,
	    "problems", problems, "config", config, "clients", clients, "loop", loop, "process",
	    process_facts(server), "log", log, "services", services);
}
