/*
 * A change from the configuration in force to another: prepared in full first (names resolved, sockets
 * bound, services started), then committed by steps that cannot fail. A start is a change from nothing.
 */
#ifndef ECHOD_CHANGE_H
#define ECHOD_CHANGE_H

#include "server.h"

struct change;

/*
 * NULL when anything of it cannot be had, with the mistakes added, the exit status that a start would end
 * with, and everything as before. The config stays the caller's until it is committed.
 */
struct change *change_prepare(
    struct server *server, struct config *next, struct texts *mistakes, int *status);

/* Puts it in force: the config is the server's, the one before is freed with its last client. */
void change_commit(struct change *change);

#endif
