/*
 * A reload plan leads from the configuration in force to another one. It is made whole first (sockets bound,
 * services started), then committed by steps that cannot fail. Between the two it may wait for stores that are loaded
 * beside the loop. A start is a plan from nothing, which does not wait: its clients get an error until the store is
 * loaded.
 */
#ifndef ECHOD_RELOAD_PLAN_H
#define ECHOD_RELOAD_PLAN_H

#include <stdbool.h>

struct config;
struct instance;
struct listener;
struct names;
struct reload_plan;
struct running;
struct strings;

/*
 * Starts to look up the host names that a plan for the config needs; skips disabled services, and those whose sockets
 * come from the service manager. The loop calls `done` at the end. NULL with errno ENOMEM.
 */
struct names *reload_plan_look_up(
    const struct running *running, const struct config *config, void (*done)(void *arg), void *arg);

/*
 * NULL when anything cannot be had, with the errors added, the exit status of a start that fails so, and everything
 * as before. The config stays the caller's until the commit. `names` has its host names looked up, and is not used
 * after the return; `errors` is used until the commit; `warnings` gets what only the plan has found out. A dry run opens, makes and starts nothing: it can be described,
 * not committed.
 */
struct reload_plan *reload_plan_new(struct running *running, struct config *next,
    const struct names *names, bool dry_run, struct strings *errors, struct strings *warnings,
    int *status);

/* Whether its new services have started: 1, 0 = not yet (see loop->started), or -1 with the errors added. */
int reload_plan_ready(const struct reload_plan *plan);

/* Opens the log of its config: the last step that can fail, since it takes effect at once. 0, or -1 with the error added. */
int reload_plan_open_log(const struct reload_plan *plan);

/* Leaves everything as it was; the config stays the caller's. */
void reload_plan_cancel(struct reload_plan *plan);

enum plan_step {
	PLAN_STARTS, /* a service */
	PLAN_STOPS,
	PLAN_OPENS, /* a listener of the instance */
	PLAN_KEEPS,
	PLAN_CLOSES,
	PLAN_MOVES, /* it serves another instance from then on, without its clients */
};

/* Calls the function for each step; the listener is NULL for services. */
void reload_plan_describe(const struct reload_plan *plan,
    void (*each)(enum plan_step step, const struct instance *instance,
	const struct listener *listener, void *arg),
    void *arg);

/* Puts it in force and frees it: `running` owns the config; the one before is freed with its last client. */
void reload_plan_commit(struct reload_plan *plan);

#endif
