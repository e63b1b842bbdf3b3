/*
 * echoctl: the command line. A command is a row in control/commands.def; its options and the number of its arguments
 * are checked here, so that it need not.
 */
#include <errno.h>
#include <getopt.h>
#include <math.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "build.h"
#include "control/command_row.h"
#include "core/log.h"
#include "core/option.h"
#include "core/standard.h"
#include "core/suggest.h"
#include "echoctl/echoctl.h"
#include "echoctl/probes.h"
#include "net/address.h"

#define SECOND_US 1000000
#define DAY_SECONDS 86400
#define SHORTEST_SECONDS 0.001

#define OPTIONS_MAX 16
/* What getopt returns for a long option; FORWARDED is one of the daemon. */
enum { FORWARDED = 256, TTL, PROXY, TLS_CA, TLS_CERT, TLS_KEY, TLS_PIN, USER, PASSWORD_FILE };

#define TLS_SYNOPSIS " [--ca FILE] [--cert FILE] [--key FILE] [--pin PIN]"
#define USER_SYNOPSIS " [--user NAME] [--password-file FILE]"

static const struct option tls_longs[] = {
	{ "ca", required_argument, NULL, TLS_CA },
	{ "cert", required_argument, NULL, TLS_CERT },
	{ "key", required_argument, NULL, TLS_KEY },
	{ "pin", required_argument, NULL, TLS_PIN },
};
static const struct option user_longs[] = {
	{ "user", required_argument, NULL, USER },
	{ "password-file", required_argument, NULL, PASSWORD_FILE },
};

static int (*const commands[COMMAND_ROWS])(const struct options *, int, char **) = {
#define CONTROL(name, ...) [COMMAND_##name] = query_command,
#define LOCAL(name, ...) [COMMAND_##name] = name##_command,
#include "control/commands.def"
};

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
	for (size_t i = 0; i < COMMAND_ROWS; i++)
		fprintf(to, "  %-10s %s\n", command_rows[i].name, command_rows[i].help);
	fputs(
	    "\n"
	    "  -s SOCKET  the socket of the daemon's control service\n"
	    "  -j         print JSON\n"
	    "  -V         print the version\n"
	    "  -h         print this help; after a command, print its options and arguments\n"
	    "\n"
	    "After a command, for a tls:// or rediss:// address:\n"
	    "  --ca FILE    trust the certificates in FILE instead of those of the system\n"
	    "  --cert FILE  show this certificate to the server; FILE may contain its key, too\n"
	    "  --key FILE   the key of the certificate\n"
	    "  --pin PIN    trust the server with this key, sha256/BASE64 or sha256:HEX\n"
	    "\n"
	    "After a command for kv:\n"
	    "  --user NAME           log in as this user\n"
	    "  --password-file FILE  the password or the token of the user is the first line of FILE\n"
	    "\n"
	    "An ADDRESS is written as in the configuration: tcp://127.0.0.1:5566, udp://[::1]:5566,\n"
	    "unix:///path, unixgram://@name, tls://example.org:5567. See echoctl(1).\n",
	    to);
}

static void print_command_usage(const struct command_row *row, FILE *to)
{
	fprintf(to, "Usage: echoctl %s [-j]%s%s%s%s%s%s\n", row->name,
	    *row->letters == '\0' ? "" : " ", row->letters,
	    row->flags & COMMAND_USER ? USER_SYNOPSIS : "",
	    row->flags & COMMAND_TLS ? TLS_SYNOPSIS : "", *row->arguments == '\0' ? "" : " ",
	    row->arguments);
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

static bool parse_ttl(const char *text, int64_t *ms)
{
	if ((*ms = option_read_duration(text)) > 0)
		return true;
	complain(
	    "--ttl: expected seconds or a duration such as 500ms, 30s or 5m, got \"%s\"", text);
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
	case 'a':
		options->address = optarg;
		return true;
	case TTL:
		return parse_ttl(optarg, &options->ttl);
	case PROXY:
		options->proxy = optarg;
		return true;
	case TLS_CA:
		options->tls.ca = optarg;
		return true;
	case TLS_CERT:
		options->tls.cert = optarg;
		return true;
	case TLS_KEY:
		options->tls.key = optarg;
		return true;
	case TLS_PIN:
		options->tls.pin = optarg;
		return true;
	case USER:
		options->user = optarg;
		return true;
	case PASSWORD_FILE:
		options->password_file = optarg;
		return true;
	case FORWARDED:
		return strings_addf(&options->forwarded, "--%s%s%s", long_option->name,
			   optarg == NULL ? "" : "=", optarg == NULL ? "" : optarg) == 0;
	case ':':
		if (optopt >= FORWARDED)
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

/* The options of a command, or the general ones, as getopt_long(3) reads them. */
struct known_options {
	char letters[2 * OPTIONS_MAX + 8];
	struct option longs[OPTIONS_MAX];
	char names[OPTIONS_MAX][32]; /* of the long ones */
};

/* Of long ones, `value` is what getopt returns, but for --proxy. */
static void add_options(struct known_options *known, const char *synopsis, int value)
{
	struct synopsis_item item;

	while (synopsis_next(&synopsis, &item)) {
		char *letters = known->letters + strlen(known->letters);
		size_t i = 0;

		if (item.name[0] != '-')
			continue;
		if (item.length == 2) {
			snprintf(letters, 3, "%c%s", item.name[1], item.takes_value ? ":" : "");
			continue;
		}
		while (known->longs[i].name != NULL)
			i++;
		snprintf(known->names[i], sizeof(known->names[i]), "%.*s", (int)item.length - 2,
		    item.name + 2);
		known->longs[i] = (struct option){ known->names[i],
			item.takes_value ? required_argument : no_argument, NULL,
			strcmp(known->names[i], "proxy") == 0 ? PROXY : value };
	}
}

/* Whether to go on; otherwise *status is the exit status. `row` is NULL before the command is known. */
static bool parse_options(
    struct options *options, const struct command_row *row, int argc, char **argv, int *status)
{
	struct known_options known = { .letters = "+:s:jhV",
		.longs = {
		    { "help", no_argument, NULL, 'h' }, { "version", no_argument, NULL, 'V' } } };
	int letter, index = 0;
	size_t least, most;

	if (row != NULL) {
		synopsis_count(row->arguments, &least, &most);
		strcpy(known.letters,
		    row->flags & COMMAND_VERBATIM || most == SIZE_MAX ? "+:jh" : ":jh");
		if (row->flags & COMMAND_TLS)
			memcpy(&known.longs[2], tls_longs, sizeof(tls_longs));
		if (row->flags & COMMAND_USER) /* it has those of TLS, too */
			memcpy(&known.longs[6], user_longs, sizeof(user_longs));
		add_options(&known, row->letters, TTL);
		add_options(&known, row->arguments, FORWARDED);
	}
	optind = 0; /* a second round begins */
	while ((letter = getopt_long(argc, argv, known.letters, known.longs, &index)) != -1) {
		*status = STATUS_OK;
		if (letter == 'V') {
			puts("echoctl " PACKAGE_VERSION);
			return false;
		}
		if (letter == 'h' && row == NULL) {
			print_usage(stdout);
			return false;
		}
		if (letter == 'h') {
			print_command_usage(row, stdout);
			printf("\n%s: %s.\n", row->name, row->help);
			return false;
		}
		if (!set_option(options, &known.longs[index], letter, argv)) {
			fprintf(stderr, "Try 'echoctl%s%s -h'.\n", row == NULL ? "" : " ",
			    row == NULL ? "" : row->name);
			*status = STATUS_USAGE;
			return false;
		}
	}
	return true;
}

/* The number of the command; COMMAND_ROWS after a complaint. */
static int find_command(const char *name)
{
	struct suggestion suggestion = { .name = name };
	char shown[64];

	for (int i = 0; i < COMMAND_ROWS; i++) {
		if (strcmp(command_rows[i].name, name) == 0)
			return i;
		suggest_offer(&suggestion, command_rows[i].name);
	}
	log_escape(shown, sizeof(shown), name, strlen(name));
	if (suggestion.best != NULL)
		complain("unknown command \"%s\"; did you mean \"%s\"?", shown, suggestion.best);
	else
		complain("unknown command \"%s\"", shown);
	fputs("The commands are:", stderr);
	for (int i = 0; i < COMMAND_ROWS; i++)
		fprintf(stderr, "%s %s", i == 0 ? "" : ",", command_rows[i].name);
	fputs(".\n", stderr);
	return COMMAND_ROWS;
}

/* An answer that did not reach the disk is not "ok". */
static int check_output(int status)
{
	if (standard_flush() == 0)
		return status;
	if (errno != EPIPE) /* the reader has closed the pipe */
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
	const struct command_row *row;
	int number, status = STATUS_USAGE;
	size_t least, most;

	standard_occupy();
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!parse_options(&options, NULL, argc, argv, &status))
		return check_output(status);
	argc -= optind;
	argv += optind;
	if (argc == 0) {
		print_usage(stderr);
		return STATUS_USAGE;
	}
	if ((number = find_command(argv[0])) == COMMAND_ROWS)
		return check_output(STATUS_USAGE);
	row = options.row = &command_rows[number];
	if (row->flags & COMMAND_SLOW)
		options.patience = INT64_MAX;
	if (parse_options(&options, row, argc, argv, &status)) {
		argc -= optind;
		argv += optind;
		synopsis_count(row->arguments, &least, &most);
		if ((size_t)argc >= least && (size_t)argc <= most) {
			status = commands[number](&options, argc, argv);
		} else {
			complain("%s: %s", row->name,
			    (size_t)argc < least ? "an argument is missing" : "too many arguments");
			print_command_usage(row, stderr);
			status = STATUS_USAGE;
		}
	}
	strings_clear(&options.forwarded);
	return check_output(status);
}
