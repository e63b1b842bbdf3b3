/*
 * A change from the configuration in force to another: prepared in full first (sockets
 * bound, services started), then committed by steps that cannot fail. A start is a change from nothing.
 */
#ifndef ECHOD_CHANGE_H
#define ECHOD_CHANGE_H

#include "server.h"

struct change;
struct listener;
struct names;

enum change_mode {
	CHANGE_REAL,
	CHANGE_SKETCH, /* nothing is opened, made or started: it can be described, not committed */
};

/*
 * NULL when anything of it cannot be had, with the mistakes added, the exit status that a start would end
 * with, and everything as before. The config stays the caller's until it is committed. `names` has its host names
 * looked up, and is not used after the return.
 */
struct change *change_prepare(struct server *server, struct config *next, const struct names *names,
    enum change_mode mode, struct strings *errors, int *status);

/* Leaves everything as it was before; the config stays the caller's. */
void change_cancel(struct change *change);

enum change_step {
	CHANGE_STARTS, /* a service */
	CHANGE_STOPS,
	CHANGE_OPENS, /* a listener of the instance */
	CHANGE_KEEPS,
	CHANGE_CLOSES,
	CHANGE_MOVES, /* it serves another instance from then on, without its clients */
};

/* Calls the function for each step; the listener is NULL for services. */
void change_describe(const struct change *change,
    void (*each)(enum change_step step, const struct instance *instance,
	const struct listener *listener, void *arg),
    void *arg);

/* Puts it in force: the config is the server's, the one before is freed with its last client. */
void change_commit(struct change *change);

#endif
