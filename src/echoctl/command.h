/* What echoctl.c and its commands share: the options, the exit statuses, how an error is told. */
#ifndef ECHOD_ECHOCTL_COMMAND_H
#define ECHOD_ECHOCTL_COMMAND_H

#include <stdbool.h>
#include <stdint.h>

#include "core/strings.h"

struct address;

/* Exit statuses; scripts rely on them. */
enum {
	STATUS_OK = 0,
	STATUS_NO = 1,     /* the peer says no, does not answer, or something failed here */
	STATUS_USAGE = 2,  /* wrong command line */
	STATUS_NOBODY = 3, /* refused, no such path or host, timed out connecting */
	STATUS_LOOK = 4,   /* status: the daemon runs, and something needs a look */
};

/* What the options of all commands say; times in microseconds. */
struct options {
	const char *socket; /* -s: where the daemon's control service listens */
	bool json;          /* -j */
	int64_t count;      /* -n; 0 = no limit */
	int64_t interval;   /* -i */
	int64_t patience;   /* -w: how long to wait for the peer; INT64_MAX = for ever */
	const char
	    *interface; /* -I: where a multicast group is joined; NULL = the kernel decides */
	bool raw;       /* -r */
	bool watch;     /* -w of status: again and again */
	/* Of a command for the daemon: */
	const char *command;
	struct strings forwarded; /* its long options, "--name" or "--name=value" */
};

/* Commands get the arguments behind their options, as many as their row allows. */
int send_command(const struct options *options, int count, char **arguments);
int ping_command(const struct options *options, int count, char **arguments);
int listen_command(const struct options *options, int count, char **arguments);
/* All those that the daemon's control service answers. */
int control_command(const struct options *options, int count, char **words);
/* Of these the one whose answer may come as late as it likes. */
int reload_command(const struct options *options, int count, char **words);

/* Writes "echoctl: ..." and a line feed to standard error. */
void complain(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* As address_parse(), but with a complaint. The address is zeroed when it is none. */
int parse_address_argument(struct address *address, const char *text);

#endif
