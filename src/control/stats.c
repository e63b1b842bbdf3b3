/*
 * stats: every counter under a name of its own, in the format that Prometheus reads. What ends in _total
 * only grows while the daemon runs; all else is a state.
 */
#include <event2/buffer.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#include "control/json.h"
#include "control/request.h"
#include "core/clock.h"
#include "core/log.h"
#include "net/instance.h"
#include "net/loop.h"
#include "net/pulse.h"
#include "server.h"
#include "services/service.h"

#define NAME_SIZE 128 /* of a counter, without its labels */
#define FULL_SIZE 512

static void add(json_t *stats, const char *name, uint64_t value)
{
	json_object_set_new(stats, name, json_integer((json_int_t)value));
}

static void add_real(json_t *stats, const char *name, double value)
{
	json_object_set_new(stats, name, json_real(value));
}

/* echod_NAME{service="..."} */
static void add_of(json_t *stats, const struct instance *instance, const char *name, uint64_t value)
{
	char full[FULL_SIZE];

	snprintf(full, sizeof(full), "echod_%s{service=\"%s\"}", name, instance->name);
	add(stats, full, value);
}

static void add_by_reason(json_t *stats, const struct instance *instance, const char *name,
    const char *reason, uint64_t value)
{
	char full[FULL_SIZE];

	snprintf(full, sizeof(full), "echod_%s{service=\"%s\",reason=\"%s\"}", name, instance->name,
	    reason);
	add(stats, full, value);
}

/* The numbers of a service's own report; words are for people. */
struct stats_report {
	struct report report;
	const struct instance *instance;
	json_t *stats;
};

static void report_number(struct report *report, const char *name, uint64_t value)
{
	const struct stats_report *to = (struct stats_report *)report;
	char own[NAME_SIZE];

	snprintf(own, sizeof(own), "%s_%s", to->instance->config->kind->type, name);
	add_of(to->stats, to->instance, own, value);
}

static void report_text(struct report *report, const char *name, const char *value)
{
	(void)report;
	(void)name;
	(void)value;
}

static void report_problem(struct report *report, const char *sentence)
{
	(void)report;
	(void)sentence;
}

static void add_instance(json_t *stats, const struct instance *instance)
{
	const struct service_ops *ops = service_of(instance->config->kind);
	const struct counters *c = &instance->counters;
	struct stats_report report = {
		.report = { report_number, report_text, report_problem },
		.instance = instance,
		.stats = stats,
	};

	add_of(stats, instance, "clients", instance->stream_count);
	add_of(stats, instance, "programs", instance->child_count);
	add_of(stats, instance, "accepted_total", c->accepted);
	add_of(stats, instance, "bytes_in_total", c->bytes_in);
	add_of(stats, instance, "bytes_out_total", c->bytes_out);
	add_of(stats, instance, "datagrams_in_total", c->datagrams_in);
	add_of(stats, instance, "datagrams_out_total", c->datagrams_out);
	for (int i = 0; i < CLOSE_REASONS; i++)
		add_by_reason(stats, instance, "closed_total", close_reason_name(i), c->closed[i]);
	for (int i = LIMIT_NONE + 1; i < LIMITS; i++)
		add_by_reason(stats, instance, "refused_total", limit_name(i), c->refused[i]);
	for (int i = DROP_NOT + 1; i < DROP_REASONS; i++)
		add_by_reason(stats, instance, "dropped_total", drop_reason_name(i), c->drops[i]);
	if (ops->report != NULL)
		ops->report(instance, &report.report);
}

static double seconds(const struct timeval *tv)
{
	return (double)tv->tv_sec + (double)tv->tv_usec / 1e6;
}

static void add_process(json_t *stats, const struct server *server)
{
	struct pulse_facts pulse;
	struct rusage usage;

	pulse_read(server->pulse, &pulse);
	getrusage(RUSAGE_SELF, &usage);
	add_real(stats, "echod_uptime_seconds", (double)(clock_ms() - server->started) / 1e3);
	add_real(
	    stats, "echod_cpu_seconds_total", seconds(&usage.ru_utime) + seconds(&usage.ru_stime));
	add_real(stats, "echod_loop_lag_seconds", (double)pulse.median / 1e6);
	add_real(stats, "echod_loop_lag_p99_seconds", (double)pulse.p99 / 1e6);
	add_real(stats, "echod_loop_lag_longest_seconds", (double)pulse.longest / 1e6);
	add(stats, "echod_config_loaded_time_seconds", (uint64_t)server->reloads.loaded_at);
	add(stats, "echod_config_reload_failing", server->reloads.failed_at != 0);
	add(stats, "echod_reloads_total", server->reloads.done);
	add(stats, "echod_reload_failures_total", server->reloads.failed);
	add(stats, "echod_log_lines_lost_total", log_lost());
	add(stats, "echod_all_clients", server->loop->streams);
	add(stats, "echod_all_clients_limit", server->loop->max_streams);
}

/* The format wants all lines of a name together, whatever their labels. */
static json_t *group_by_name(json_t *stats)
{
	json_t *groups = json_object(), *all = json_object(), *value, *group;
	const char *full, *name;

	json_object_foreach (stats, full, value) {
		char own[NAME_SIZE];

		snprintf(own, sizeof(own), "%.*s", (int)strcspn(full, "{"), full);
		if ((group = json_object_get(groups, own)) == NULL) {
			group = json_object();
			json_object_set_new(groups, own, group);
		}
		json_object_set(group, full, value);
	}
	json_object_foreach (groups, name, group)
		json_object_update(all, group);
	json_decref(groups);
	json_decref(stats);
	return all;
}

static json_t *answer(struct request *request)
{
	const struct instance *instance;
	json_t *stats = json_object();

	add_process(stats, request->server);
	TAILQ_FOREACH (instance, &request->server->loop->instances, entry)
		add_instance(stats, instance);
	return group_by_name(stats);
}

static void show(json_t *answer, struct evbuffer *out)
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
	.name = "stats",
	.arguments = "",
	.help = "print every counter, one a line",
	.answer = answer,
	.show = show,
};
