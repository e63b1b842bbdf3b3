/*
 * echod: the options, then the phases by name. The only file that exits.
 */
#include <errno.h>
#include <getopt.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "build.h"
#include "control/console.h"
#include "core/config.h"
#include "core/inherited.h"
#include "core/log.h"
#include "core/path.h"
#include "core/pidfile.h"
#include "core/process.h"
#include "core/standard.h"
#include "core/systemd.h"
#include "daemonize.h"
#include "server.h"
#include "services/collisions.h"
#include "services/host.h"
#include "services/service.h"

#define EXIT_USAGE 2

enum task { TASK_SERVE, TASK_CHECK, TASK_PRINT, TASK_EXPLAIN };

struct command_line {
	enum task task;
	const char *config_file;
	char *pid_file;  /* absolute */
	const char *key; /* to be explained */
	int verbosity;
	bool detach;
};

static const char usage[] =
    "Usage: echod [-c FILE] [-t | -T | -D] [-p FILE] [-v] [-q] [-V] [-h] [--explain KEY]\n"
    "\n"
    "  -c FILE        read this configuration (default: " SYSCONFDIR "/echod.conf)\n"
    "  -t             check the configuration and exit\n"
    "  -T             print the configuration in effect, with the origin of each value, and exit\n"
    "  -D             run in the background; return when every address is bound\n"
    "  -p FILE        write the process ID to this file\n"
    "  -v, -q         log more, log less; both may be repeated\n"
    "  -V             print the version and the features built in\n"
    "  -h             print this help\n"
    "  --explain KEY  explain a configuration key or a service\n"
    "\n"
    "See echod(8) and echod.conf(5).\n";

static void print_version(void)
{
	puts("echod " PACKAGE_VERSION);
	puts(built_with_systemd ? "features: systemd" : "features: none");
}

/* Whether there is something to do; otherwise *status is what to exit with. */
static bool parse_command_line(struct command_line *line, int argc, char **argv, int *status)
{
	static const struct option long_options[] = {
		{ "explain", required_argument, NULL, 'E' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	int option;

	*status = EXIT_SUCCESS;
	while ((option = getopt_long(argc, argv, "c:tTDp:vqVh", long_options, NULL)) != -1) {
		switch (option) {
		case 'c':
			line->config_file = optarg;
			break;
		case 't':
			line->task = TASK_CHECK;
			break;
		case 'T':
			line->task = TASK_PRINT;
			break;
		case 'E':
			line->task = TASK_EXPLAIN;
			line->key = optarg;
			break;
		case 'D':
			line->detach = true;
			break;
		case 'p':
			free(line->pid_file);
			if ((line->pid_file = path_absolute(optarg)) != NULL)
				break;
			fprintf(stderr, "echod: -p %s: cannot find the current directory: %s\n",
			    optarg, strerror(errno));
			*status = EXIT_FAILURE;
			return false;
		case 'v':
			line->verbosity++;
			break;
		case 'q':
			line->verbosity--;
			break;
		case 'V':
			print_version();
			return false;
		case 'h':
			fputs(usage, stdout);
			return false;
		default:
			fputs("Try 'echod -h'.\n", stderr);
			*status = EXIT_USAGE;
			return false;
		}
	}
	if (optind < argc || (line->detach && line->task != TASK_SERVE)) {
		fputs(usage, stderr);
		*status = EXIT_USAGE;
		return false;
	}
	return true;
}

static void print_errors(const struct strings *errors)
{
	for (size_t i = 0; i < errors->count; i++)
		fprintf(stderr, "echod: %s\n", errors->items[i]);
	if (errors->lost)
		fputs("echod: out of memory\n", stderr);
}

/* NULL with every error on standard error. */
static struct config *read_config(const char *file)
{
	struct strings errors = { 0 };
	struct config *config = config_load(file, true, service_kinds, &errors);

	print_errors(&errors);
	strings_clear(&errors);
	return config;
}

/* False, with every collision on standard error, if one start cannot bind all addresses and open all stores. */
static bool is_bindable(const struct config *config)
{
	struct strings errors = { 0 };
	bool bindable = collisions_find(config, NULL, &errors) == 0;

	print_errors(&errors);
	strings_clear(&errors);
	return bindable;
}

static int check_config(const char *file, bool print)
{
	struct config *config = read_config(file);

	if (config == NULL)
		return EX_CONFIG;
	/* Only root can test what the user is allowed to open. */
	for (size_t i = 0; geteuid() == 0 && i < config->instance_count; i++)
		if (instance_enabled(&config->instances[i]))
			service_verify(
			    &config->instances[i], config->main->user, &config->warnings);
	for (size_t i = 0; i < config->warnings.count; i++)
		fprintf(stderr, "echod: warning: %s\n", config->warnings.items[i]);
	if (!is_bindable(config)) {
		config_free(config);
		return EX_CONFIG;
	}
	if (print)
		config_print(config, stdout);
	else
		printf("echod: %s: OK\n", file);
	config_free(config);
	return EXIT_SUCCESS;
}

/* Prints an unknown key on standard error, like every error. */
static int explain_key(const char *key)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);
	bool known = out != NULL && config_explain(key, service_kinds, out) == 0;

	if (out == NULL || fclose(out) == EOF) {
		perror("echod");
		return EXIT_FAILURE;
	}
	if (known)
		fputs(text, stdout);
	else
		fprintf(stderr, "echod: %s", text);
	free(text);
	return known ? EXIT_SUCCESS : EXIT_USAGE;
}

/* Uses standard error, too, where the caller waits: the log may be a full file or a missing syslog by then. */
static void refuse_pid_file(const char *path, const char *why)
{
	log_error("echod: %s: %s", path, why);
	if (strcmp(log_target(), "stderr") != 0)
		fprintf(stderr, "echod: %s: %s\n", path, why);
}

/* With the pid file, if one is wanted; its number is there once everything is bound. */
static int start_server(struct server *server, const char *pid_path, int *pid_file)
{
	struct error error;
	int status;

	if (pid_path != NULL) {
		*pid_file = pidfile_open(pid_path, server->running.config->main->user, &error);
		if (*pid_file == -1) {
			log_error("echod: %s: %s", pid_path, error.text);
			return EXIT_FAILURE;
		}
	}
	status = server_start(server);
	if (status == EXIT_SUCCESS && *pid_file != -1 && pidfile_write(*pid_file) == -1) {
		refuse_pid_file(pid_path, strerror(errno));
		return EXIT_FAILURE;
	}
	return status;
}

/* Starts, tells the waiting parent (if there is one), and serves; frees the server. */
static int start_and_run(struct server *server, const struct command_line *line, int report)
{
	int pid_file = -1, status = start_server(server, line->pid_file, &pid_file);

	if (report != -1)
		daemonize_report(report, status);
	if (status == EXIT_SUCCESS)
		status = server_run(server);
	server_free(server);
	if (pid_file !=
	    -1) /* after server_free(): while a store is open, no other echod may start */
		pidfile_remove(line->pid_file, pid_file);
	return status;
}

/* Frees the config. */
static int serve_config(
    const struct command_line *line, struct config *config, struct inherited *inherited)
{
	struct host host;
	struct server *server;
	int report = -1, status;

	/* Until the configured target is open. Finds out whether standard error is the journal. */
	log_open("stderr", NULL, NULL);
	if (line->detach && (report = daemonize(&status)) < 0) {
		config_free(config);
		if (report == -2)
			return status;
		fprintf(stderr, "echod: cannot detach: %s\n", strerror(errno));
		return EXIT_FAILURE;
	}
	console_init(&host);
	server =
	    server_new(&host, config, line->config_file, inherited, line->verbosity, line->detach);
	if (server == NULL) {
		config_free(config);
		fprintf(stderr, "echod: cannot start: %s\n", strerror(errno));
		return EXIT_FAILURE;
	}
	status = start_and_run(server, line, report);
	log_close();
	return status;
}

static int serve(const struct command_line *line)
{
	struct inherited inherited;
	struct config *config;
	int status;

	process_let_stop(); /* reading blocks if the file is a pipe without a writer */
	config = read_config(line->config_file);
	process_hold_signals();
	if (config == NULL)
		return EX_CONFIG;
	if (inherited_take(&inherited) == -1) {
		fprintf(stderr, "echod: cannot use the sockets of the service manager: %s\n",
		    strerror(errno));
		config_free(config);
		return EXIT_FAILURE;
	}
	process_close_strays();
	status = serve_config(line, config, &inherited);
	inherited_clear(&inherited);
	return status;
}

/* The places of values are shown to people who may be in another directory. */
static int serve_by_absolute_path(const struct command_line *line)
{
	struct command_line absolute = *line;
	char *file = path_absolute(line->config_file);
	int status;

	if (file == NULL) {
		fprintf(stderr, "echod: %s: %s\n", line->config_file, strerror(errno));
		return EXIT_FAILURE;
	}
	absolute.config_file = file;
	status = serve(&absolute);
	free(file);
	return status;
}

static int perform_task(const struct command_line *line)
{
	if (line->task != TASK_SERVE)
		process_take_signals();
	switch (line->task) {
	case TASK_CHECK:
	case TASK_PRINT:
		return check_config(line->config_file, line->task == TASK_PRINT);
	case TASK_EXPLAIN:
		return explain_key(line->key);
	case TASK_SERVE:
		break;
	}
	return serve_by_absolute_path(line);
}

/* Half a configuration on a disk that is full is not "ok". */
static int check_output(int status)
{
	if (standard_flush() == 0)
		return status;
	fprintf(stderr, "echod: cannot write the output: %s\n", strerror(errno));
	return status == EXIT_SUCCESS ? EXIT_FAILURE : status;
}

int main(int argc, char **argv)
{
	struct command_line line = { .config_file = SYSCONFDIR "/echod.conf" };
	int status;

	process_begin();
	standard_occupy();
	/* Small chunks freed by the million are else put in order by one large malloc, at once: 25 ms. */
	mallopt(M_MXFAST, 0);
	if (parse_command_line(&line, argc, argv, &status))
		status = perform_task(&line);
	free(line.pid_file);
	return check_output(status);
}
