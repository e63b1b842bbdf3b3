/*
 * echod: the options, then the phases by name. The only file that exits.
 */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
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
#include "core/error.h"
#include "core/inherited.h"
#include "core/log.h"
#include "core/path.h"
#include "core/pidfile.h"
#include "core/plural.h"
#include "core/process.h"
#include "core/standard.h"
#include "core/systemd.h"
#include "daemonize.h"
#include "kv/store.h"
#include "net/tls_context.h"
#include "net/tls_settings.h"
#include "server.h"
#include "services/collisions.h"
#include "services/host.h"
#include "services/service.h"

#define EXIT_USAGE 2

enum action { ACTION_SERVE, ACTION_CHECK, ACTION_PRINT, ACTION_EXPLAIN, ACTION_CHECK_STORE };

struct command_line {
	enum action action;
	const char *config_file;
	const char *pid_file;
	const char *key;   /* to be explained */
	const char *store; /* to be checked */
	int verbosity;
	bool detach;
};

static const char usage[] =
    "Usage: echod [-c FILE] [-t | -T | -D] [-p FILE] [-v] [-q] [-V] [-h] [--explain KEY]\n"
    "             [--check-store DIRECTORY]\n"
    "\n"
    "  -c FILE        read this configuration (default: " SYSCONFDIR "/echod.conf)\n"
    "  -t             check the configuration and exit\n"
    "  -T             print the configuration in effect, with the origin of each value, and exit\n"
    "  -D             run in the background; return when every service is ready\n"
    "  -p FILE        write the process ID to this file\n"
    "  -v, -q         log more, log less; both may be repeated\n"
    "  -V             print the version and the features built in\n"
    "  -h             print this help\n"
    "  --explain KEY  explain a configuration key or a service\n"
    "  --check-store DIRECTORY\n"
    "                 verify a store that no daemon has open, and exit\n"
    "\n"
    "See echod(8) and echod.conf(5).\n";

/* Whether there is something to do; otherwise *status is the exit status. */
static bool parse_command_line(struct command_line *line, int argc, char **argv, int *status)
{
	static const struct option long_options[] = {
		{ "check-store", required_argument, NULL, 'S' },
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
			line->action = ACTION_CHECK;
			break;
		case 'T':
			line->action = ACTION_PRINT;
			break;
		case 'E':
			line->action = ACTION_EXPLAIN;
			line->key = optarg;
			break;
		case 'D':
			line->detach = true;
			break;
		case 'p':
			line->pid_file = optarg;
			break;
		case 'v':
			line->verbosity++;
			break;
		case 'q':
			line->verbosity--;
			break;
		case 'V':
			puts("echod " PACKAGE_VERSION);
			printf("features:%s%s%s\n", built_with_systemd ? " systemd" : "",
			    built_with_tls ? " tls" : "",
			    built_with_systemd || built_with_tls ? "" : " none");
			return false;
		case 'S':
			line->action = ACTION_CHECK_STORE;
			line->store = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			return false;
		default:
			fputs("Try 'echod -h'.\n", stderr);
			*status = EXIT_USAGE;
			return false;
		}
	}
	if (optind == argc && !(line->detach && line->action != ACTION_SERVE))
		return true;
	fputs(usage, stderr);
	*status = EXIT_USAGE;
	return false;
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

static int check_config(const char *file, bool print)
{
	struct config *config = read_config(file);
	struct strings errors = { 0 };
	bool valid;

	if (config == NULL)
		return EX_CONFIG;
	/* Only root can test what the user is allowed to open. */
	for (size_t i = 0; geteuid() == 0 && i < config->instance_count; i++)
		if (config->instances[i].enabled)
			service_verify(
			    &config->instances[i], config->main->user, &config->warnings);
	for (size_t i = 0; i < config->instance_count; i++)
		if (config->instances[i].enabled)
			service_check_prepared(
			    &config->instances[i], config->main->user, &errors, &config->warnings);
	for (size_t i = 0; i < config->instance_count; i++)
		if (config->instances[i].enabled && tls_settings_needed(&config->instances[i]))
			tls_context_check(
			    config, &config->instances[i], &errors, &config->warnings);
	for (size_t i = 0; i < config->warnings.count; i++)
		fprintf(stderr, "echod: warning: %s\n", config->warnings.items[i]);
	/* Whether one start can bind all addresses and open all stores. */
	collisions_find(config, NULL, &errors);
	valid = errors.count == 0 && !errors.lost;
	print_errors(&errors);
	strings_clear(&errors);
	if (valid && print)
		config_print(config, stdout);
	else if (valid)
		printf("echod: %s: OK\n", file);
	config_free(config);
	return valid ? EXIT_SUCCESS : EX_CONFIG;
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

static int check_store(const char *directory)
{
	struct error error;
	uint64_t keys;

	if (store_check(directory, &keys, &error) == -1) {
		fprintf(stderr, "echod: %s\n", error.text);
		return EXIT_FAILURE;
	}
	printf("echod: %s: OK, %" PRIu64 " key%s\n", directory, keys, PLURAL(keys, "s"));
	return EXIT_SUCCESS;
}

/*
 * Starts the server, reports that to the waiting parent (-1 = there is none), serves, and frees the server. The pid
 * file, if one is wanted, has its number once everything is bound.
 */
static int run_server(struct server *server, const char *pid_path, int report)
{
	int pid_file = -1, status = EXIT_FAILURE;
	struct error error;

	if (pid_path == NULL ||
	    (pid_file = pidfile_open(pid_path, server->running.config->main->user, &error)) != -1)
		status = server_start(server);
	else
		log_error("echod: %s: %s", pid_path, error.text);
	if (status == EXIT_SUCCESS && pid_file != -1 && pidfile_write(pid_file) == -1) {
		status = EXIT_FAILURE;
		error_errno(&error, "echod: %s", pid_path);
		log_error("%s", error.text);
		/* The log may be a full file or a missing syslog by now, and the caller waits. */
		if (strcmp(log_target(), "stderr") != 0)
			fprintf(stderr, "%s\n", error.text);
	}
	if (report != -1)
		daemonize_report(report, status);
	if (status == EXIT_SUCCESS)
		status = server_run(server);
	server_free(server);
	if (pid_file != -1) /* last: while a store is open, no other echod may start */
		pidfile_remove(pid_path, pid_file);
	return status;
}

/* The paths are absolute: places of values are shown to people who may be in another directory. */
static int serve(const struct command_line *line, const char *config_file, const char *pid_file)
{
	struct inherited inherited;
	struct host host;
	struct server *server;
	struct config *config;
	int report = -1, status = EXIT_FAILURE;

	process_let_stop(); /* reading blocks if the file is a pipe without a writer */
	config = read_config(config_file);
	process_block_signals();
	if (config == NULL)
		return EX_CONFIG;
	if (inherited_acquire(&inherited) == -1) {
		fprintf(stderr, "echod: cannot use the sockets of the service manager: %s\n",
		    strerror(errno));
		config_free(config);
		return EXIT_FAILURE;
	}
	process_close_strays();
	/* Until the configured target is open. Finds out whether standard error is the journal. */
	log_open("stderr", NULL, NULL);
	if (line->detach && (report = daemonize(&status)) < 0) {
		if (report == -1)
			fprintf(stderr, "echod: cannot detach: %s\n", strerror(errno));
	} else {
		console_init(&host);
		server = server_new(
		    &host, config, config_file, &inherited, line->verbosity, line->detach);
		if (server != NULL) {
			config = NULL;
			status = run_server(server, pid_file, report);
			log_close();
		} else {
			fprintf(stderr, "echod: cannot start: %s\n", strerror(errno));
		}
	}
	config_free(config);
	inherited_clear(&inherited);
	return status;
}

static int perform_task(const struct command_line *line)
{
	char *config_file, *pid_file = NULL;
	int status = EXIT_FAILURE;

	if (line->action != ACTION_SERVE)
		process_unblock_signals();
	if (line->action == ACTION_EXPLAIN)
		return explain_key(line->key);
	if (line->action == ACTION_CHECK_STORE)
		return check_store(line->store);
	if (line->action != ACTION_SERVE)
		return check_config(line->config_file, line->action == ACTION_PRINT);
	config_file = path_absolute(line->config_file);
	if (config_file == NULL)
		fprintf(stderr, "echod: %s: %s\n", line->config_file, strerror(errno));
	else if (line->pid_file != NULL && (pid_file = path_absolute(line->pid_file)) == NULL)
		fprintf(stderr, "echod: -p %s: cannot find the current directory: %s\n",
		    line->pid_file, strerror(errno));
	else
		status = serve(line, config_file, pid_file);
	free(config_file);
	free(pid_file);
	return status;
}

int main(int argc, char **argv)
{
	struct command_line line = { .config_file = SYSCONFDIR "/echod.conf" };
	int status;

	process_begin();
	standard_occupy();
	/* Small chunks freed by the million are else put in order by one large malloc, at once: 25 ms. */
	mallopt(M_MXFAST, 0);
	/*
	 * OpenSSL allocates and frees 17 KiB for each record. If they lie at the top of the heap, which above 128 KiB
	 * goes back to the kernel, brk(2) is called for most requests: three times the CPU time over TLS. Setting the
	 * one fixes the other, too, and from 128 KiB on each large read would have a mapping of its own.
	 */
	mallopt(M_TRIM_THRESHOLD, 4 << 20);
	mallopt(M_MMAP_THRESHOLD, 1 << 20);
	if (parse_command_line(&line, argc, argv, &status))
		status = perform_task(&line);
	/* Half a configuration on a disk that is full is not "ok". */
	if (standard_flush() == 0)
		return status;
	fprintf(stderr, "echod: cannot write the output: %s\n", strerror(errno));
	return status == EXIT_SUCCESS ? EXIT_FAILURE : status;
}
