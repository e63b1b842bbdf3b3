/*
 * A whole daemon in this process, for harnesses that talk to it as clients: its listeners are real, its loop
 * turns when it is told to.
 */
#ifndef ECHOD_FUZZ_DAEMON_H
#define ECHOD_FUZZ_DAEMON_H

#include <stddef.h>

struct server;

/* A directory of this process's own, for Unix sockets. */
#define DAEMON_DIRECTORY "/proc/self/fd/300"

/* Starts it with the text of a configuration. NULL with a message on standard error. */
struct server *daemon_start(const char *config);
/* Reads another configuration, right or wrong, as a SIGHUP would. 0 = it is in force. */
int daemon_reload(struct server *server, const char *config);
/* Lets it do all that it can do now. */
void daemon_turn(struct server *server);
/* Ends it. Its clients must have left, and nothing of them may be left. */
void daemon_free(struct server *server);

/* A connected socket, which does not block, to the instance's first (0) or a later address; or -1. */
int daemon_connect(struct server *server, const char *instance, int which);

#endif
