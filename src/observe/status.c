/*
 * Gathering: the process, the configuration, and each service with its addresses, clients, totals and errors.
 * Problems are collected on the way.
 */
#include "observe/status.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <unistd.h>

#include "build.h"
#include "core/clock.h"
#include "core/error.h"
#include "core/log.h"
#include "core/plural.h"
#include "core/resident.h"
#include "net/acceptor.h"
#include "net/admission.h"
#include "net/endpoint.h"
#include "net/instance.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/loop_lag.h"
#include "net/settings.h"
#include "net/tls_context.h"
#include "observe/json.h"
#include "server.h"
#include "services/service.h"

#define LATE_US 100000 /* clients that wait longer for their turn will have noticed */
#define LOST_MS (60 * 60 * 1000)
#define LINE_SIZE 1024

/* Adds a sentence to the array of what needs a look, or of warnings. */
static void add_sentence(json_t *problems, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

static void add_sentence(json_t *problems, const char *format, ...)
{
	char text[LINE_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	json_array_append_new(problems, json_text(text));
}

/* The step of the first reload in the queue; NULL = the queue is empty. */
static const char *reload_step(const struct reloads *reloads)
{
	const struct reload *reload = TAILQ_FIRST(&reloads->queue);

	if (reload == NULL)
		return NULL;
	if (reloads->state == RELOADS_WAIT)
		return "waiting for the end of the start";
	return reload->plan != NULL ? "loading stores" : "looking up host names";
}

static json_t *config_status(const struct server *server, json_t *problems)
{
	const struct reloads *reloads = &server->reloads;

	if (reloads->failed_at != 0)
		add_sentence(problems,
		    "the last reload failed, and the previous configuration remains in "
		    "effect%s%s%s",
		    reloads->errors.count > 0 ? ": " : "",
		    reloads->errors.count > 0 ? reloads->errors.items[0] : "",
		    reloads->errors.count > 1 ? " (and more)" : "");
	return json_pack("{s:o, s:o, s:I, s:I, s:o, s:o, s:b, s:s?}", "file",
	    json_text(server->config_file), "loaded", json_time(reloads->loaded_at), "reloads",
	    (json_int_t)reloads->done, "failures", (json_int_t)reloads->failed, "failed",
	    json_time(reloads->failed_at), "mistakes", json_strings(&reloads->errors), "reloading",
	    !TAILQ_EMPTY(&reloads->queue), "reload_step", reload_step(reloads));
}

static json_t *clients_status(const struct loop *loop, json_t *problems)
{
	const struct instance *instance;
	size_t leaving = loop->streams;

	TAILQ_FOREACH (instance, &loop->instances, entry)
		leaving -= instance->stream_count;
	if (loop->streams >= loop->max_streams)
		add_sentence(problems, "limits.max_connections is reached");
	if (acceptors_are_paused(loop->acceptors))
		add_sentence(problems, "out of file descriptors, no clients are accepted for now");
	return json_pack("{s:I, s:I, s:I, s:I}", "now", (json_int_t)loop->streams, "limit",
	    (json_int_t)loop->max_streams, "leaving", (json_int_t)leaving, "programs",
	    (json_int_t)loop->children);
}

static json_t *log_status(json_t *problems)
{
	unsigned long lost = log_lost();

	if (log_has_lost_within(LOST_MS))
		add_sentence(problems,
		    "the log has lost %lu line%s, the last one within the past hour", lost,
		    PLURAL(lost, "s"));
	if (log_is_stale())
		add_sentence(problems,
		    "the log file could not be reopened, lines go on to the file that was open: "
		    "correct its path or its mode, then run echoctl reopen");
	return json_pack("{s:s, s:I, s:o}", "level", log_level_name(log_level()), "lost",
	    (json_int_t)lost, "target", json_text(log_target()));
}

/* --- a service --- */

/* A counter that has counted something. */
static void add_count(json_t *counts, const char *name, uint64_t value)
{
	if (value > 0)
		json_object_set_new(counts, name, json_integer((json_int_t)value));
}

/* By reason: clients that were closed or refused, dropped datagrams, and what of these is an error. */
static void add_counts(json_t *service, const struct counters *counters)
{
	json_t *closed = json_object(), *refused = json_object();
	json_t *dropped = json_object(), *errors = json_object(), *tls = json_object();
	char name[64];

	for (int i = 0; i < CLOSE_REASONS; i++) {
		add_count(closed, close_reason_name(i), counters->closed[i]);
		if (close_reason_is_bad(i))
			add_count(errors, close_reason_name(i), counters->closed[i]);
	}
	for (int i = LIMIT_NONE + 1; i < LIMITS; i++)
		add_count(refused, limit_name(i), counters->refused[i]);
	for (int i = TLS_FINE + 1; i < TLS_CAUSES; i++)
		add_count(tls, tls_cause_name(i), counters->tls[i]);
	for (int i = DROP_NOT + 1; i < DROP_REASONS; i++) {
		add_count(dropped, drop_reason_name(i), counters->drops[i]);
		snprintf(name, sizeof(name), "dropped_%s", drop_reason_name(i));
		if (i != DROP_ANSWER)
			add_count(errors, name, counters->drops[i]);
	}
	json_object_set_new(service, "closed", closed);
	json_object_set_new(service, "refused", refused);
	json_object_set_new(service, "tls_failures", tls);
	json_object_set_new(service, "dropped", dropped);
	json_object_set_new(service, "errors", errors);
}

/* A service's own report, into JSON. */
struct status_report {
	struct report report;
	const char *service;
	json_t *facts, *problems;
};

static void status_number(struct report *report, const char *name, uint64_t value)
{
	json_object_set_new(
	    ((struct status_report *)report)->facts, name, json_integer((json_int_t)value));
}

static void status_problem(struct report *report, const char *sentence)
{
	struct status_report *to = (struct status_report *)report;

	add_sentence(to->problems, "%s: %s", to->service, sentence);
}

json_t *status_report(const struct instance *instance, json_t *problems)
{
	const struct service_ops *ops = service_of(instance->config->kind);
	struct status_report report = {
		.report = { status_number, status_problem },
		.service = instance->name,
		.facts = json_object(),
		.problems = problems,
	};

	if (ops->report != NULL)
		ops->report(instance, &report.report);
	return report.facts;
}

static json_t *addresses_status(const struct instance *instance, json_t *problems)
{
	const struct listener *listener;
	json_t *addresses = json_array();
	char text[ADDRESS_TEXT_MAX];

	TAILQ_FOREACH (listener, &instance->listeners, entry) {
		endpoint_format(listener_endpoint(listener), text, sizeof(text));
		if (listener->absent != 0 && endpoint_is_group(&listener->wanted))
			add_sentence(problems, "%s: %s waits for its network: %s", instance->name,
			    text, strerror(listener->absent));
		else if (listener->absent != 0)
			add_sentence(problems,
			    "%s: %s is not served: cannot bind it: %s; a reload tries it again",
			    instance->name, text, strerror(listener->absent));
		else if (!socket_is_reachable(&listener->socket))
			add_sentence(problems,
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

/* The certificates that its clients get; NULL = it has no address with TLS. */
static json_t *tls_status(const struct instance *instance, json_t *problems)
{
	struct strings sentences = { 0 };
	struct tls_certificate_facts facts;
	json_t *certificates;

	if (instance->tls == NULL)
		return NULL;
	tls_context_problems(instance->tls, &sentences);
	for (size_t i = 0; i < sentences.count; i++)
		add_sentence(problems, "%s: %s", instance->name, sentences.items[i]);
	strings_clear(&sentences);
	certificates = json_array();
	for (size_t i = 0; tls_context_certificate(instance->tls, i, &facts); i++)
		json_array_append_new(certificates,
		    json_pack("{s:o, s:o, s:o, s:o}", "file", json_text(facts.file), "names",
			json_strings(facts.names), "not_before", json_time(facts.not_before),
			"not_after", json_time(facts.not_after)));
	return json_pack("{s:o}", "certificates", certificates);
}

/* What -t and the log have warned of; it stays a warning, for somebody may have wanted it so. */
static void add_warnings(json_t *warnings, const struct instance *instance)
{
	const struct strings *tls =
	    instance->tls == NULL ? NULL : tls_context_warnings(instance->tls);
	const struct listener *listener;
	bool is_inherited = false;
	struct error error;

	TAILQ_FOREACH (listener, &instance->listeners, entry) {
		if (listener->inherited == NULL)
			continue;
		is_inherited = true;
		if (service_warn_inherited(instance->config, &listener->wanted, &error) == -1)
			add_sentence(warnings, "%s: %s", instance->name, error.text);
	}
	if (!is_inherited && service_warn(instance->config, &error) == -1)
		add_sentence(warnings, "%s: %s", instance->name, error.text);
	for (size_t i = 0; tls != NULL && i < tls->count; i++)
		add_sentence(warnings, "%s: %s", instance->name, tls->items[i]);
}

static json_t *service_status(const struct instance *instance, json_t *problems)
{
	const struct counters *c = &instance->counters;
	enum limit limit = admission_full(instance);
	json_t *tls = tls_status(instance, problems);
	json_t *service;

	if (limit != LIMIT_NONE && limit != LIMIT_ALL_CLIENTS)
		add_sentence(problems, "%s: the limit max_connections is reached", instance->name);
	service = json_pack("{s:s, s:s, s:o, s:{s:I, s:I}, s:I, s:I, s:I, s:I, s:I, s:I}", "name",
	    instance->name, "type", instance->config->kind->type, "addresses",
	    addresses_status(instance, problems), "clients", "now",
	    (json_int_t)instance->stream_count, "limit",
	    (json_int_t)instance->settings->max_connections, "programs",
	    (json_int_t)instance->child_count, "accepted", (json_int_t)c->accepted, "bytes_in",
	    (json_int_t)c->bytes_in, "bytes_out", (json_int_t)c->bytes_out, "datagrams_in",
	    (json_int_t)c->datagrams_in, "datagrams_out", (json_int_t)c->datagrams_out);
	add_counts(service, c);
	json_object_set_new(service, "report", status_report(instance, problems));
	if (tls != NULL)
		json_object_set_new(service, "tls", tls);
	return service;
}

json_t *status_gather(const struct server *server)
{
	const struct loop *loop = server->running.loop;
	json_t *problems = json_array(), *warnings = json_array(), *services = json_array();
	json_t *config = config_status(server, problems);
	json_t *clients = clients_status(loop, problems), *lag, *process, *log;
	const struct instance *instance;
	struct loop_lag_facts facts;
	struct rusage usage;
	struct timeval cpu;

	loop_lag_read(server->loop_lag, &facts);
	if (facts.p99 > LATE_US)
		add_sentence(problems,
		    "the event loop is slow: one of a hundred requests waits %.0f ms",
		    (double)facts.p99 / 1e3);
	lag = json_pack("{s:I, s:I, s:I, s:I}", "lag_us", (json_int_t)facts.median, "lag_p99_us",
	    (json_int_t)facts.p99, "lag_max_us", (json_int_t)facts.max, "longest_lag_us",
	    (json_int_t)facts.longest);
	getrusage(RUSAGE_SELF, &usage);
	timeradd(&usage.ru_utime, &usage.ru_stime, &cpu);
	process = json_pack("{s:I, s:I, s:I, s:f}", "memory_bytes", (json_int_t)resident_memory(),
	    "peak_memory_bytes", (json_int_t)usage.ru_maxrss * 1024, "cpu_ms",
	    (json_int_t)cpu.tv_sec * 1000 + cpu.tv_usec / 1000, "cpu_percent",
	    facts.cpu_share * 100);
	log = log_status(problems);
	for (size_t i = 0; i < server->reloads.kept.count; i++)
		add_sentence(warnings, "%s", server->reloads.kept.items[i]);
	TAILQ_FOREACH (instance, &loop->instances, entry) {
		json_array_append_new(services, service_status(instance, problems));
		add_warnings(warnings, instance);
	}
	return json_pack("{s:s, s:I, s:I, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "version",
	    PACKAGE_VERSION, "pid", (json_int_t)getpid(), "uptime_ms",
	    (json_int_t)(clock_ms() - server->started), "stopping", server->phase == SERVER_STOPS,
	    "problems", problems, "warnings", warnings, "config", config, "clients", clients,
	    "loop", lag, "process", process, "log", log, "services", services);
}
