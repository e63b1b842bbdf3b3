/*
 * The server: start -> reload -> drain -> stop. Everything of one running daemon hangs on it, so that a test
 * can run two in one process.
 */
#ifndef ECHOD_SERVER_H
#define ECHOD_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "core/config.h"
#include "net/loop.h"
#include "retired.h"

struct event;
struct inherited;

struct control_host;
struct pulse;

#define SERVER_SIGNALS 5

/* How the changes of configuration went. */
struct server_reloads {
	time_t loaded_at;      /* the one in force */
	time_t failed_at;      /* the last try, if it failed; else 0 */
	struct texts mistakes; /* of that */
	unsigned long done, failed;
};

struct server {
	char *config_file;           /* absolute: a reload finds it wherever we go */
	int verbosity;               /* levels more (or, negative, fewer) than the config says */
	bool detached;               /* stderr leads nowhere: syslog takes its place */
	struct config *config;       /* in force */
	struct inherited *inherited; /* sockets that we were started with; its owner outlives us */
	struct loop *loop;
	struct event *signals[SERVER_SIGNALS];
	bool signalled[SERVER_SIGNALS]; /* in this turn */
	struct event *signal_server;    /* activated by the first of them */
	struct event *watchdog;         /* NULL = nobody watches us */
	struct event *left;             /* streams have ended that somebody waits for */
	struct event *stop_timer;       /* while stopping */
	struct retired_list retired; /* what reloads have taken away, while it still has clients */
	struct pulse *pulse;
	struct control_host *console; /* behind the control service */
	int64_t started;              /* clock_ms() */
	struct server_reloads reloads;
	bool stopping;
};

/* Takes the config; nothing is bound yet. NULL when out of memory, and the config stays the caller's. */
struct server *server_new(struct config *config, const char *config_file,
    struct inherited *inherited, int verbosity, bool detached);

/* Binds and starts everything; mistakes are logged. 0, or the exit status. */
int server_start(struct server *server);

/* Says that it is ready, serves until it is stopped, and returns the exit status. */
int server_run(struct server *server);

/* Frees all in the reverse order; clients that are left are cut off. NULL is fine. */
void server_free(struct server *server);

/*
 * Reads the config again. 0 with the change in force and the warnings (what needs a restart), or -1 with
 * the old one whole and the mistakes; the log has got both.
 */
int server_reload(struct server *server, struct texts *mistakes, struct texts *warnings);

/* The parts of that which change nothing: the config as it is read now, or NULL with the mistakes; */
struct config *server_load(const struct server *server, struct texts *mistakes);
/* and the old values put back that only a restart changes, with the warnings. 0, or -1 when out of memory. */
int server_keep_unreloadable(
    const struct server *server, struct config *next, struct texts *warnings);

/* Opens the log's file again. 0, or -1 with errno and the old one in use; the log tells. */
int server_reopen_log(void);

#endif
