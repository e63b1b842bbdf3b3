/*
 * Reloads. The configuration is read, its host names are looked up beside the loop, and then it is put in
 * force, or, in a dry run, described. Until then the one in force serves on. One reload is under way at a time;
 * those that are asked for meanwhile wait for it.
 */
#ifndef ECHOD_RELOAD_H
#define ECHOD_RELOAD_H

#include <stdbool.h>
#include <sys/queue.h>
#include <time.h>

#include "core/texts.h"

struct config;
struct errand;
struct names;
struct server;

/* One that was asked for. Freed after `done`. */
struct reload {
	TAILQ_ENTRY(reload) entry;
	struct server *server;
	bool dry_run;
	bool begun;
	/* Called by the loop at its end; NULL = nobody waits for it. */
	void (*done)(struct reload *reload, void *arg);
	void *arg;
	/* The outcome. `next` is NULL once it is in force. */
	bool failed;
	struct config *next;
	struct names *names; /* those of `next` */
	struct texts mistakes, warnings;
};

TAILQ_HEAD(reload_queue, reload);

/* Of a server: the reloads that wait, and how the earlier ones went. */
struct reloads {
	struct reload_queue queue; /* the first is under way */
	struct errand *work;
	time_t loaded_at;      /* the configuration in force */
	time_t failed_at;      /* the last try, if it failed; else 0 */
	struct texts mistakes; /* of that */
	unsigned long done, failed;
};

/* 0, or -1 with errno. */
int reloads_init(struct server *server);
/* Ends the one under way and those that wait: each has failed because the daemon stops. */
void reloads_cancel(struct server *server);
void reloads_free(struct server *server);

/*
 * Asks for a reload. It begins at the end of this turn of the loop, or when the server has started. Several
 * that nobody waits for are one while they have not begun. NULL with errno (ESHUTDOWN: the daemon stops).
 */
struct reload *reload_request(
    struct server *server, bool dry_run, void (*done)(struct reload *reload, void *arg), void *arg);
/* Its `done` is not called any more; the reload itself goes on. */
void reload_forget(struct reload *reload);

/*
 * Puts the values of `next` back that only a restart changes, with a warning for each. 0, or -1 when out of memory,
 * which is a mistake then.
 */
int reload_keep_unreloadable(struct reload *reload);

/* Begins to look up the names in the addresses of all services of the config. NULL with errno ENOMEM. */
struct names *reload_look_up(
    struct server *server, const struct config *config, void (*done)(void *arg), void *arg);

/* Tells the service manager what is served, and whether the last reload has failed. */
void reload_tell_ready(const struct server *server);

#endif
