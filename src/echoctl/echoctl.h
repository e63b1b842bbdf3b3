/* What echoctl.c and its commands share: the options, the exit statuses, how an error is printed. */
#ifndef ECHOD_ECHOCTL_ECHOCTL_H
#define ECHOD_ECHOCTL_ECHOCTL_H

#include <stdbool.h>
#include <stdint.h>

#include "core/strings.h"
#include "echoctl/tls_client.h"

struct address;
struct command_row;

/* Exit statuses; scripts rely on them. */
enum {
	STATUS_OK = 0,
	STATUS_NO = 1,     /* the peer says no, does not answer, or something failed here */
	STATUS_USAGE = 2,  /* wrong command line */
	STATUS_NOBODY = 3, /* refused, no such path or host, timed out connecting */
	STATUS_LOOK = 4,   /* status: the daemon runs, and something needs a look */
};

/* The options of all commands; times in microseconds. */
struct options {
	const char *socket; /* -s: where the daemon's control service listens */
	bool json;          /* -j */
	int64_t count;      /* -n; 0 = no limit */
	int64_t interval;   /* -i */
	int64_t patience;   /* -w: how long to wait for the peer; INT64_MAX = for ever */
	const char
	    *interface;      /* -I: where a multicast group is joined; NULL = the kernel decides */
	bool raw;            /* -r */
	bool watch;          /* -w of status: again and again */
	const char *address; /* -a: of a kv service; NULL = not given */
	int64_t ttl;         /* --ttl, milliseconds; 0 = not given */
	const char *proxy;   /* --proxy: the client to announce, or "local"; NULL = none */
	struct tls_options tls;
	const char *user, *password_file; /* NULL = not given */
	const struct command_row *row;
	struct strings forwarded; /* options for the daemon, "--name" or "--name=value" */
};

/* Every command gets the arguments behind its options, as many as its row allows, and returns the exit status. */
int query_command(const struct options *options, int count, char **arguments);
#define CONTROL(...)
#define LOCAL(name, ...) \
	int name##_command(const struct options *options, int count, char **arguments);
#include "control/commands.def"
#undef CONTROL
#undef LOCAL

/* Writes "echoctl: ..." and a line feed to standard error. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* As address_parse(), but with a complaint. The address is zeroed when it is none. */
int parse_address_argument(struct address *address, const char *text);

#endif
