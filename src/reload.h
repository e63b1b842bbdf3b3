/*
 * Reloads. Each reads the configuration, looks up its host names in threads, and then applies it or, in a dry run,
 * leaves it to the caller to describe. The old configuration stays in force until then. One reload runs at a time;
 * requests that arrive meanwhile queue.
 */
#ifndef ECHOD_RELOAD_H
#define ECHOD_RELOAD_H

#include <stdbool.h>
#include <sys/queue.h>
#include <time.h>

#include "core/strings.h"

struct config;
struct errand;
struct names;
struct server;

/* A requested reload. Freed after `done`. */
struct reload {
	TAILQ_ENTRY(reload) entry;
	struct server *server;
	bool dry_run;
	bool begun;
	/* The loop calls it when the reload has ended; NULL = nobody waits. */
	void (*done)(struct reload *reload, void *arg);
	void *arg;
	/* The outcome. `next` becomes NULL when it is in force: the server owns it then. */
	bool failed;
	struct config *next;
	struct names *names; /* those of `next` */
	struct strings errors, warnings;
};

TAILQ_HEAD(reload_queue, reload);

/* Of a server: the queue, and the results of earlier reloads. */
struct reloads {
	struct reload_queue queue; /* the first is under way */
	struct errand *work;
	time_t loaded_at;      /* the configuration in force */
	time_t failed_at;      /* the last try, if it failed; else 0 */
	struct strings errors; /* of that */
	unsigned long done, failed;
};

/* 0, or -1 with errno. */
int reloads_init(struct server *server);
/* Fails the running reload and those in the queue, because the daemon stops. */
void reloads_cancel(struct server *server);
void reloads_free(struct server *server);

/*
 * Requests a reload. It begins at the end of this turn of the loop, or when the server has started. Requests without
 * `done` share one reload that has not begun. NULL with errno (ESHUTDOWN: the daemon stops).
 */
struct reload *reload_request(
    struct server *server, bool dry_run, void (*done)(struct reload *reload, void *arg), void *arg);
/* Cancels the call of `done`; the reload itself goes on. */
void reload_forget(struct reload *reload);

/*
 * Resets values of `next` that only a restart can change to those in force, with a warning for each. 0, or -1 when
 * out of memory, with a mistake added.
 */
int reload_keep_unreloadable(struct reload *reload);

/* Starts to look up the host names in the addresses of all services. NULL with errno ENOMEM. */
struct names *reload_look_up(
    struct server *server, const struct config *config, void (*done)(void *arg), void *arg);

/* Tells the service manager what is served, and whether the last reload has failed. */
void reload_tell_ready(const struct server *server);

#endif
