/*
 * Reloads. Each reads the configuration, looks up its host names in threads, waits until its new stores are loaded, and
 * then puts it in force or, in a dry run, leaves it to the caller to describe. The old configuration stays in force until
 * then. One reload runs at a time; requests that arrive meanwhile queue.
 */
#ifndef ECHOD_RELOAD_H
#define ECHOD_RELOAD_H

#include <stdbool.h>
#include <sys/queue.h>
#include <time.h>

#include "core/strings.h"

struct config;
struct names;
struct reload_plan;
struct running;
struct task;

/* A requested reload. Freed after `done`. */
struct reload {
	TAILQ_ENTRY(reload) entry;
	struct reloads *reloads;
	bool dry_run;
	bool begun;
	/* The loop calls it when the reload has ended; NULL = nobody waits. */
	void (*done)(struct reload *reload, void *arg);
	void *arg;
	/* The outcome. `next` is the running one if the files have not changed, and NULL when another is in force. */
	bool failed;
	struct config *next;
	struct names *names;                   /* those of `next` */
	struct reload_plan *plan;              /* that waits for its services to start; else NULL */
	struct strings errors, warnings, kept; /* `kept`: those of values that need a restart */
};

TAILQ_HEAD(reload_queue, reload);

/* Of a server: the queue, and the results of earlier reloads. */
struct reloads {
	struct running *running; /* what they change */
	enum {
		RELOADS_WAIT,
		RELOADS_RUN,
		RELOADS_REFUSED
	} state;                   /* before the start, and in a stop */
	struct reload_queue queue; /* the first is under way */
	struct task *work;
	time_t loaded_at;      /* the configuration in force */
	time_t failed_at;      /* the last try, if it failed; else 0 */
	struct strings errors; /* of that */
	struct strings kept;   /* values of the files that wait for a restart */
	unsigned long done, failed;
};

/* 0, or -1 with errno. */
int reloads_init(struct reloads *reloads, struct running *running);
/* The start is over: begins with what was requested meanwhile. */
void reloads_start(struct reloads *reloads);
/* A service of the plan that waits has started, or cannot. */
void reloads_wake(struct reloads *reloads);
/* Fails the running reload and those in the queue, and refuses new ones, because the daemon stops. */
void reloads_cancel(struct reloads *reloads);
void reloads_free(struct reloads *reloads);

/*
 * Requests a reload. It begins at the end of this turn of the loop, or when the server has started. Requests without
 * `done` share one reload that has not begun. NULL with errno (ESHUTDOWN: the daemon stops).
 */
struct reload *reload_request(struct reloads *reloads, bool dry_run,
    void (*done)(struct reload *reload, void *arg), void *arg);
/* Cancels the call of `done`; the reload itself goes on. */
void reload_forget(struct reload *reload);

/*
 * The plan of a reload that has read its configuration. Values that only a restart can change are first reset to those
 * in force, with a warning for each. NULL with the errors added. For a dry run the caller cancels it.
 */
struct reload_plan *reload_make_plan(struct reload *reload);

/* Tells the service manager what is served, and whether the last reload has failed. */
void reloads_notify_ready(const struct reloads *reloads);

#endif
