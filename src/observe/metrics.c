/*
 * Metrics are added instance by instance, as echod_NAME{service="..."}, and then grouped by NAME: the format of
 * Prometheus wants all lines of a name together.
 */
#include "observe/metrics.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>

#include "core/clock.h"
#include "core/config.h"
#include "core/log.h"
#include "net/admission.h"
#include "net/instance.h"
#include "net/loop.h"
#include "net/loop_lag.h"
#include "net/tls_context.h"
#include "observe/status.h"
#include "server.h"

#define NAME_SIZE 128 /* of a counter, without its labels */
#define FULL_SIZE 512

static void add_metric(json_t *metrics, const char *name, uint64_t value)
{
	json_object_set_new(metrics, name, json_integer((json_int_t)value));
}

static void add_real(json_t *metrics, const char *name, double value)
{
	json_object_set_new(metrics, name, json_real(value));
}

/* echod_NAME{service="..."}, with reason="..." unless that is NULL. */
static void add_of(json_t *metrics, const struct instance *instance, const char *name,
    const char *reason, uint64_t value)
{
	char full[FULL_SIZE];

	snprintf(full, sizeof(full), "echod_%s{service=\"%s\"%s%s%s}", name, instance->name,
	    reason == NULL ? "" : ",reason=\"", reason == NULL ? "" : reason,
	    reason == NULL ? "" : "\"");
	add_metric(metrics, full, value);
}

/* When each of its certificates ends; the format wants backslashes and quotes in a label escaped. */
static void add_certificates(json_t *metrics, const struct instance *instance)
{
	struct tls_certificate_facts facts;
	char full[FULL_SIZE], file[FULL_SIZE / 2];

	for (size_t i = 0;
	     instance->tls != NULL && tls_context_certificate(instance->tls, i, &facts); i++) {
		size_t length = 0;

		for (const char *at = facts.file; *at != '\0' && length < sizeof(file) - 3; at++) {
			if (*at == '\\' || *at == '"')
				file[length++] = '\\';
			file[length++] = *at < ' ' || *at > '~' ? '?' : *at;
		}
		file[length] = '\0';
		snprintf(full, sizeof(full),
		    "echod_tls_certificate_expiry_timestamp_seconds{service=\"%s\",file=\"%s\"}",
		    instance->name, file);
		add_metric(metrics, full, (uint64_t)facts.not_after);
	}
}

static void add_instance(json_t *metrics, const struct instance *instance)
{
	json_t *report = status_report(instance, NULL), *value;
	const struct counters *c = &instance->counters;
	const char *name;
	char own[NAME_SIZE];

	add_of(metrics, instance, "clients", NULL, instance->stream_count);
	add_of(metrics, instance, "programs", NULL, instance->child_count);
	add_of(metrics, instance, "accepted_total", NULL, c->accepted);
	add_of(metrics, instance, "bytes_in_total", NULL, c->bytes_in);
	add_of(metrics, instance, "bytes_out_total", NULL, c->bytes_out);
	add_of(metrics, instance, "datagrams_in_total", NULL, c->datagrams_in);
	add_of(metrics, instance, "datagrams_out_total", NULL, c->datagrams_out);
	for (int i = 0; i < CLOSE_REASONS; i++)
		add_of(metrics, instance, "closed_total", close_reason_name(i), c->closed[i]);
	for (int i = LIMIT_NONE + 1; i < LIMITS; i++)
		add_of(metrics, instance, "refused_total", limit_name(i), c->refused[i]);
	for (int i = TLS_FINE + 1; i < TLS_CAUSES; i++)
		add_of(metrics, instance, "tls_failures_total", tls_cause_name(i), c->tls[i]);
	for (int i = DROP_NOT + 1; i < DROP_REASONS; i++)
		add_of(metrics, instance, "dropped_total", drop_reason_name(i), c->drops[i]);
	json_object_foreach (report, name, value) {
		snprintf(own, sizeof(own), "%s_%s", instance->config->kind->type, name);
		add_of(metrics, instance, own, NULL, (uint64_t)json_integer_value(value));
	}
	json_decref(report);
	add_certificates(metrics, instance);
}

static void add_process(json_t *metrics, const struct server *server)
{
	struct loop_lag_facts facts;
	struct rusage usage;
	struct timeval cpu;

	loop_lag_read(server->loop_lag, &facts);
	getrusage(RUSAGE_SELF, &usage);
	timeradd(&usage.ru_utime, &usage.ru_stime, &cpu);
	add_real(metrics, "echod_uptime_seconds", (double)(clock_ms() - server->started) / 1e3);
	add_real(
	    metrics, "echod_cpu_seconds_total", (double)cpu.tv_sec + (double)cpu.tv_usec / 1e6);
	add_real(metrics, "echod_loop_lag_seconds", (double)facts.median / 1e6);
	add_real(metrics, "echod_loop_lag_p99_seconds", (double)facts.p99 / 1e6);
	add_real(metrics, "echod_loop_lag_longest_seconds", (double)facts.longest / 1e6);
	add_metric(
	    metrics, "echod_config_loaded_time_seconds", (uint64_t)server->reloads.loaded_at);
	add_metric(metrics, "echod_config_reload_failing", server->reloads.failed_at != 0);
	add_metric(metrics, "echod_reloads_total", server->reloads.done);
	add_metric(metrics, "echod_reload_failures_total", server->reloads.failed);
	add_metric(metrics, "echod_log_lines_lost_total", log_lost());
	add_metric(metrics, "echod_all_clients", server->running.loop->streams);
	add_metric(metrics, "echod_all_clients_limit", server->running.loop->max_streams);
}

json_t *metrics_gather(const struct server *server)
{
	json_t *metrics = json_object(), *groups = json_object(), *all = json_object();
	json_t *value, *group;
	const struct instance *instance;
	const char *full, *name;

	add_process(metrics, server);
	TAILQ_FOREACH (instance, &server->running.loop->instances, entry)
		add_instance(metrics, instance);
	/* The format wants all lines of a name together, whatever their labels. */
	json_object_foreach (metrics, full, value) {
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
	json_decref(metrics);
	return all;
}
