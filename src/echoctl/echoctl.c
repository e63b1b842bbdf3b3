/*
 * echoctl: the table of commands, and the command line. To add a command is to add a row; its options
 * and the number of its arguments are checked here, so that its handler need not.
 */
#include <errno.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "core/log.h"
#include "core/standard.h"
#include "core/suggest.h"
#include "echoctl/command.h"
#include "echoctl/probes.h"
#include "net/address.h"

#define SECOND_US 1000000
#define DAY_SECONDS 86400
#define SHORTEST_SECONDS 0.001

struct command {
	const char *name;
	const char *options;   /* for getopt(3) */
	const char *arguments; /* for people */
	const char *help;
	int least, most; /* arguments */
	int (*run)(const struct options *options, int count, char **arguments);
	const struct option *forwarded; /* long options that the daemon understands */
};

#define LONG_OPTIONS                              \
	{ "help", no_argument, NULL, 'h' },       \
	{                                         \
		"version", no_argument, NULL, 'V' \
	}
#define FORWARDED 'F' /* what getopt returns for the daemon's options */

static const struct option long_options[] = { LONG_OPTIONS, { NULL, 0, NULL, 0 } };
static const struct option reload_options[] = { LONG_OPTIONS,
	{ "dry-run", no_argument, NULL, FORWARDED }, { NULL, 0, NULL, 0 } };
static const struct option clients_options[] = { LONG_OPTIONS,
	{ "service", required_argument, NULL, FORWARDED },
	{ "source", required_argument, NULL, FORWARDED },
	{ "idle-over", required_argument, NULL, FORWARDED },
	{ "left", no_argument, NULL, FORWARDED }, { NULL, 0, NULL, 0 } };

static const struct command commands[] = {
	{ "status", ":wi:jh", "[-j] [-w [-i SECONDS]]", "show whether the daemon is well", 0, 0,
	    control_command, NULL },
	{ "listeners", ":jh", "[-j]", "list the addresses that are served", 0, 0, control_command,
	    NULL },
	{ "clients", ":jh",
	    "[-j] [--service NAME] [--source NETWORK] [--idle-over SECONDS] [--left]",
	    "list the clients, or the last 64 that left", 0, 0, control_command, clients_options },
	{ "kill", ":jh", "[-j] ID", "close the connection of a client", 1, 1, control_command,
	    NULL },
	{ "reload", ":jh", "[-j] [--dry-run]",
	    "reload the configuration, or show what a reload would change", 0, 0, reload_command,
	    reload_options },
	{ "reopen", ":jh", "[-j]", "reopen the log file, for example after it was renamed", 0, 0,
	    control_command, NULL },
	{ "log", ":jh", "[-j] [LEVEL]", "set the log level until the next reload, or print it", 0,
	    1, control_command, NULL },
	{ "stats", ":jh", "[-j]", "print all counters, one per line", 0, 0, control_command, NULL },
	{ "why", ":jh", "[-j] ADDRESS SERVICE",
	    "show which rule or limit decides about a client address", 2, 2, control_command,
	    NULL },
	/* TEXT may begin with a hyphen: send's options end at the address. */
	{ "send", "+:w:jh", "[-j] [-w SECONDS] ADDRESS [TEXT...]",
	    "send a line, a datagram or the standard input, and print the reply", 1, INT_MAX,
	    send_command, NULL },
	{ "ping", ":n:i:w:jh", "[-j] [-n COUNT] [-i SECONDS] [-w SECONDS] ADDRESS",
	    "measure the round-trip time to an echo service", 1, 1, ping_command, NULL },
	{ "listen", ":n:I:rjh", "[-j] [-n COUNT] [-I INTERFACE] [-r] ADDRESS",
	    "print the datagrams received at an address or a multicast group", 1, 1, listen_command,
	    NULL },
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

static const char general_options[] = "+:s:jhV";

void complain(const char *format, ...)
{
	va_list args;

	fputs("echoctl: ", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
}

int parse_address_argument(struct address *address, const char *text)
{
	char shown[ADDRESS_TEXT_MAX];
	const char *why;

	if (address_parse(address, text, &why) == 0)
		return 0;
	complain("\"%s\": %s", log_escape(shown, sizeof(shown), text, strlen(text)), why);
	return -1;
}

static void print_usage(FILE *to)
{
	fputs("Usage: echoctl [-s SOCKET] [-j] COMMAND [ARGUMENT...]\n\nCommands:\n", to);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(to, "  %-10s %s\n", commands[i].name, commands[i].help);
	fputs("\n"
	      "  -s SOCKET  the socket of the daemon's control service\n"
	      "  -j         print JSON\n"
	      "  -V         print the version\n"
	      "  -h         print this help; after a command, print its options and arguments\n"
	      "\n"
	      "An ADDRESS is written as in the configuration: tcp://127.0.0.1:5566, "
	      "udp://[::1]:5566,\n"
	      "unix:///path, unixgram://@name. See echoctl(1).\n",
	    to);
}

static void print_command_usage(const struct command *command, FILE *to)
{
	fprintf(to, "Usage: echoctl %s %s\n", command->name, command->arguments);
}

static void print_help(const struct command *command)
{
	if (command == NULL) {
		print_usage(stdout);
		return;
	}
	print_command_usage(command, stdout);
	printf("\n%s: %s.\n", command->name, command->help);
}

static bool parse_count(const char *text, int64_t *count)
{
	if ((*count = decimal_parse(text, PROBE_SEQUENCE_MAX)) > 0)
		return true;
	complain("-n: expected a number from 1 to %d, got \"%s\"", PROBE_SEQUENCE_MAX, text);
	return false;
}

static bool parse_seconds(char letter, const char *text, int64_t *us)
{
	char *end;
	double seconds = strtod(text, &end);

	/* strtod(3) also takes "inf", "0x1p3" and blanks. */
	if (text[strspn(text, "0123456789.")] == '\0' && end != text && *end == '\0' &&
	    seconds >= SHORTEST_SECONDS && seconds <= DAY_SECONDS) {
		*us = llround(seconds * SECOND_US);
		return true;
	}
	complain("-%c: expected seconds from %g to %d, got \"%s\"", letter, SHORTEST_SECONDS,
	    DAY_SECONDS, text);
	return false;
}

/* Whether the value is one. */
static bool set_option(
    struct options *options, const struct option *long_option, int letter, char **argv)
{
	switch (letter) {
	case 's':
		options->socket = optarg;
		return true;
	case 'j':
		options->json = true;
		return true;
	case 'n':
		return parse_count(optarg, &options->count);
	case 'i':
		return parse_seconds('i', optarg, &options->interval);
	case 'w':
		if (optarg == NULL) {
			options->watch = true;
			return true;
		}
		if (strcmp(optarg, "0") != 0)
			return parse_seconds('w', optarg, &options->patience);
		options->patience = INT64_MAX;
		return true;
	case 'I':
		options->interface = optarg;
		return true;
	case 'r':
		options->raw = true;
		return true;
	case FORWARDED:
		return strings_addf(&options->forwarded, "--%s%s%s", long_option->name,
			   optarg == NULL ? "" : "=", optarg == NULL ? "" : optarg) == 0;
	case ':':
		if (optopt == FORWARDED)
			complain("%s: its value is missing", argv[optind - 1]);
		else
			complain("-%c: its value is missing", optopt);
		return false;
	default: /* a letter, or 0 for a long option, which getopt has passed by */
		if (optopt != 0)
			complain("unknown option -%c", optopt);
		else
			complain("unknown option %s", argv[optind - 1]);
		return false;
	}
}

/* Whether to go on; otherwise *status is what to exit with. `command` is NULL before it is known. */
static bool parse_options(
    struct options *options, const struct command *command, int argc, char **argv, int *status)
{
	const char *known = command == NULL ? general_options : command->options;
	const struct option *longs = long_options;
	int letter, index = 0;

	if (command != NULL && command->forwarded != NULL)
		longs = command->forwarded;

	optind = 0; /* a second round begins */
	while ((letter = getopt_long(argc, argv, known, longs, &index)) != -1) {
		*status = STATUS_OK;
		if (letter == 'h') {
			print_help(command);
			return false;
		}
		if (letter == 'V') {
			puts("echoctl " PACKAGE_VERSION);
			return false;
		}
		if (!set_option(options, &longs[index], letter, argv)) {
			fprintf(stderr, "Try 'echoctl%s%s -h'.\n", command == NULL ? "" : " ",
			    command == NULL ? "" : command->name);
			*status = STATUS_USAGE;
			return false;
		}
	}
	return true;
}

/* NULL after a complaint. */
static const struct command *find_command(const char *name)
{
	struct suggestion suggestion = { .name = name };
	char shown[64];

	for (size_t i = 0; i < COMMANDS; i++) {
		if (strcmp(commands[i].name, name) == 0)
			return &commands[i];
		suggest_offer(&suggestion, commands[i].name);
	}
	log_escape(shown, sizeof(shown), name, strlen(name));
	if (suggestion.best != NULL)
		complain("unknown command \"%s\"; did you mean \"%s\"?", shown, suggestion.best);
	else
		complain("unknown command \"%s\"", shown);
	fputs("The commands are:", stderr);
	for (size_t i = 0; i < COMMANDS; i++)
		fprintf(stderr, "%s %s", i == 0 ? "" : ",", commands[i].name);
	fputs(".\n", stderr);
	return NULL;
}

static int run(struct options *options, int argc, char **argv)
{
	const struct command *command = find_command(argv[0]);
	int status;

	if (command == NULL)
		return STATUS_USAGE;
	options->command = command->name;
	if (!parse_options(options, command, argc, argv, &status))
		return status;
	argc -= optind;
	argv += optind;
	if (argc < command->least || argc > command->most) {
		complain("%s: %s", command->name,
		    argc < command->least ? "an argument is missing" : "too many arguments");
		print_command_usage(command, stderr);
		return STATUS_USAGE;
	}
	return command->run(options, argc, argv);
}

/* An answer that did not reach the disk is not "ok". */
static int check_output(int status)
{
	if (standard_flush() == 0)
		return status;
	if (errno != EPIPE) /* whoever read it has had enough */
		complain("cannot write the output: %s", strerror(errno));
	return status == STATUS_OK ? STATUS_NO : status;
}

int main(int argc, char **argv)
{
	struct options options = {
		.socket = "unix:///run/echod/control.sock",
		.interval = SECOND_US,
		.patience = 5 * SECOND_US,
	};
	int status;

	standard_occupy();
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!parse_options(&options, NULL, argc, argv, &status))
		return check_output(status);
	if (optind == argc) {
		print_usage(stderr);
		return STATUS_USAGE;
	}
	status = run(&options, argc - optind, argv + optind);
	strings_clear(&options.forwarded);
	return check_output(status);
}
