/*
 * exec: runs a program for each client, which is its standard input and output. net/relay.c moves the bytes and ends
 * the program; this file has the configuration.
 */
#include <errno.h>
#include <limits.h>
#include <string.h>

#include "net/program.h"
#include "net/relay.h"
#include "services/service.h"

struct exec_conf {
	struct strings command;
	int64_t max_children;
	int64_t timeout; /* ms, 0 = never */
};

static const struct option_row rows[] = {
	OPTION(struct exec_conf, command, strings, .flags = OPTION_REQUIRED,
	    .help = "The program (an absolute path, or a name found in the usual directories) and "
		    "its arguments; no shell interprets them."),
	OPTION_DEFAULT(struct exec_conf, max_children, integer, 50, .min = 1, .max = 100000,
	    .help = "Limit on the number of running programs; on_limit decides whether further "
		    "clients are rejected or wait."),
	OPTION_DEFAULT(struct exec_conf, timeout, duration, 0, .min = 0,
	    .max = INT64_C(365) * 86400 * 1000, .unit = "seconds",
	    .help = "Limit on the run time of a program; 0 = no limit."),
	OPTION_END,
};

static enum verdict exec_open(struct stream *stream, struct evbuffer *out)
{
	const struct exec_conf *conf = stream_instance(stream)->conf;

	(void)out;
	return relay_start(stream, &conf->command, conf->timeout);
}

static void exec_configure(struct instance *instance)
{
	instance->max_children = ((const struct exec_conf *)instance->conf)->max_children;
}

static void exec_report(const struct instance *instance, struct report *report)
{
	report->number(report, "failed_programs_total", instance->failed_programs);
}

/* --- the config --- */

static int exec_check(const struct instance_config *config, struct error *error)
{
	const struct exec_conf *conf = config->parts[PART_OWN].fields;
	const char *program = conf->command.count == 0 ? "" : conf->command.items[0];

	if (*program == '/' || (*program != '\0' && strchr(program, '/') == NULL))
		return 0;
	return error_key(error, "command",
	    "expected a program, an absolute path or a name without a slash, got \"%s\"", program);
}

static int exec_verify(const struct instance_config *config, struct error *error)
{
	const struct exec_conf *conf = config->parts[PART_OWN].fields;
	const char *program = conf->command.items[0];
	char path[PATH_MAX];

	if (program_find(program, path, sizeof(path)) == 0)
		return 0;
	return error_key(error, "command", "%s: %s", program, strerror(errno));
}

static const struct handlers handlers = {
	.flags = HANDLERS_FINISH,
	.conn_size = sizeof(struct relay_client),
	.open = exec_open,
	.bytes = relay_bytes,
	.eof = relay_eof,
	.writable = relay_writable,
	.busy = relay_busy,
	.close = relay_close,
};

const struct service_ops service_exec = {
	.kind = SERVICE_KIND("exec",
	    "Runs a program for each client, with the client as its input and output.",
	    SERVICE_OWN(rows, struct exec_conf)),
	.kind.runs_programs = true,
	.transports = SERVICE_STREAM,
	.exposes = "lets everybody who can connect run the program",
	.handlers = &handlers,
	.check = exec_check,
	.verify = exec_verify,
	.configure = exec_configure,
	.report = exec_report,
};
