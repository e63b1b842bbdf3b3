/* What is asked of the daemon's control service: a request line, and an answer with an end. */
#ifndef ECHOD_ECHOCTL_QUERY_H
#define ECHOD_ECHOCTL_QUERY_H

#include <stdbool.h>
#include <stddef.h>

#include "core/buffer.h"
#include "echoctl/echoctl.h"

struct query {
	const struct options *options;
	char *address;
	char *request; /* a line, with its end */
	/* The last answer, without its end: */
	struct buffer text;
	char *error; /* what the daemon says instead of OK; NULL = OK */
};

/* The address of a control service that is given as an address or as a path, for the caller to free. NULL with errno. */
char *query_address(const char *socket);

/* Connects and asks once. STATUS_OK when an answer has come, or another status after a complaint. */
int query_run(struct query *query);

/* Prints the answer where it belongs; the status to exit with. */
int query_print(const struct query *query);

/* Asks every `interval`, on a terminal in place, until q or Ctrl-C; the status to exit with. */
int query_watch(struct query *query);

#endif
