/*
 * A reload plan from the inside, for the two files that make one: reload_plan.c, and plan_listeners.c, which finds
 * the listeners of each entry: running ones that are kept, sockets that we were started with, and new ones, which
 * are bound here and not served before the commit. Nobody else includes this.
 */
#ifndef ECHOD_PLAN_LISTENERS_H
#define ECHOD_PLAN_LISTENERS_H

#include <stdbool.h>
#include <stddef.h>

struct config;
struct draining;
struct instance;
struct instance_config;
struct listener;
struct names;
struct running;
struct strings;

/* One enabled instance of the new config. */
struct plan_entry {
	struct instance_config *config;
	struct instance *instance;
	bool fresh;   /* made for this plan */
	bool started; /* its service, if fresh */
	struct listener **listeners;
	size_t count;
	struct tls_context
	    *tls;       /* NULL = no address of it needs one; the instance's from the commit on */
	void *prepared; /* by service_prepare(); the instance's from the commit on */
	bool adopts;    /* listeners that we were started with, just now */
};

struct reload_plan {
	struct running *running;
	struct config *config; /* the caller's until the commit */
	bool dry_run;          /* nothing is opened, made or started */
	struct plan_entry *entries;
	size_t count;
	struct draining *draining; /* for what the new config no longer has */
	struct strings *errors;    /* the caller's */
	struct strings *warnings;  /* the caller's, used while the plan is made */
	/* While the plan is made: */
	const struct names *names; /* the caller's: the config's host names, looked up */
	int status;                /* to exit with, if this is a start and there are errors */
};

/*
 * Finds or opens the entry's listeners. Mistakes are added, each with its place in the file; the rest of the plan is
 * tried all the same.
 */
void plan_listeners(struct reload_plan *plan, struct plan_entry *entry);

/* Replaced listeners stay after all. */
void plan_forget_replaced(const struct reload_plan *plan);

/* Adds a mistake for each socket that we were started with and no service has. */
void plan_check_inherited(struct reload_plan *plan);

#endif
