/* What is asked of the daemon's control service: a request line, and an answer with an end. */
#ifndef ECHOD_ECHOCTL_CONTROL_H
#define ECHOD_ECHOCTL_CONTROL_H

#include <stdbool.h>
#include <stddef.h>

#include "echoctl/command.h"

struct control {
	const struct options *options;
	char *address;
	char *request; /* a line, with its end */
	/* The last answer, without its end: */
	char *text;
	size_t length, size;
	char *error; /* what the daemon says instead of OK; NULL = OK */
};

/*
 * Makes the request of the command with its arguments. STATUS_OK, or another status after a complaint.
 * control_close() is due in any case.
 */
int control_open(struct control *control, const struct options *options, int count, char **words);
void control_close(struct control *control);

/* Connects and asks once. STATUS_OK when an answer has come, or another status after a complaint. */
int control_ask(struct control *control);

/* Prints the answer where it belongs; the status to exit with. */
int control_print(const struct control *control);

/* Asks every `interval`, on a terminal in place, until q or Ctrl-C; the status to exit with. */
int control_watch(struct control *control);

#endif
