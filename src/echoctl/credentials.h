/*
 * Who the user is for a kv service: --user and --password-file, or ECHOD_USER and ECHOD_PASSWORD_FILE. The caller wipes
 * them.
 */
#ifndef ECHOD_ECHOCTL_CREDENTIALS_H
#define ECHOD_ECHOCTL_CREDENTIALS_H

#include "echoctl/password.h"

struct kv_peer;
struct options;

struct credentials {
	const char *user; /* NULL: none were given */
	struct password password;
};

/* Reads the password. STATUS_OK, or another status after a complaint. */
int credentials_find(const struct options *options, struct credentials *credentials);

/* Sends them, if there are any, to a peer that is ready for requests. STATUS_OK, or another status after a complaint. */
int credentials_send(struct kv_peer *peer, const struct credentials *credentials);

#endif
