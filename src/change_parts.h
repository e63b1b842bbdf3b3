/*
 * A change from the inside, for the two files that make one: change.c, and change_plan.c, which finds its
 * listeners. Nobody else includes this.
 */
#ifndef ECHOD_CHANGE_PARTS_H
#define ECHOD_CHANGE_PARTS_H

#include "change.h"
#include "net/instance.h"

/* One enabled instance of the new config. */
struct planned {
	struct instance_config *config;
	struct instance *instance;
	bool fresh;   /* made for this change */
	bool started; /* its service, if fresh */
	struct listener **listeners;
	size_t count;
	bool adopts; /* listeners that we were started with, just now */
};

struct change {
	struct server *server;
	struct config *config;
	const struct names *names;
	enum change_mode mode;
	struct planned *planned;
	size_t count;
	struct retired *retired; /* for what the new config has not */
};

/* --- change_plan.c --- */

/*
 * Finds or opens the instance's listeners. What is wrong is added, with the place in the file and the exit
 * status; the rest of the plan is tried all the same.
 */
void plan_listeners(
    struct change *change, struct planned *planned, struct strings *errors, int *status);

/* That listeners have been replaced: they stay. */
void forget_replaced(const struct change *change);

/* Whether each socket that we were started with has a service. */
void check_inherited(const struct change *change, struct strings *errors, int *status);

#endif
