/* Reads a password: from the terminal, where it is not shown, from the standard input, or from a file. */
#ifndef ECHOD_ECHOCTL_PASSWORD_H
#define ECHOD_ECHOCTL_PASSWORD_H

#include "core/secret.h"

/* The caller wipes it. */
struct password {
	char text[SECRET_PASSWORD_MAX + 1];
};

/* Asks twice for a new password if the standard input is a terminal, otherwise reads its first line. 0, or -1 after a complaint. */
int password_ask(const char *user, struct password *password);

/* Reads the first line of the file, and warns if everybody can read it. 0, or -1 after a complaint. */
int password_load(const char *path, struct password *password);

void password_wipe(struct password *password);

#endif
