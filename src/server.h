/*
 * The server: start -> reload -> drain -> stop. Everything of one running daemon hangs on it, so that a test
 * can run two in one process.
 */
#ifndef ECHOD_SERVER_H
#define ECHOD_SERVER_H

#include <stdbool.h>
#include <stddef.h>

#include "core/config.h"
#include "net/loop.h"
#include "reload.h"
#include "retired.h"

struct event;
struct inherited;

struct control_host;
struct pulse;

#define SERVER_SIGNALS 6

enum server_phase {
	SERVER_STARTS, /* the host names of the start are being looked up */
	SERVER_RUNS,
	SERVER_STOPS,
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
	struct reloads reloads;
	enum server_phase phase;
};

/* Takes the config; nothing is bound yet. NULL when out of memory, and the config stays the caller's. */
struct server *server_new(struct config *config, const char *config_file,
    struct inherited *inherited, int verbosity, bool detached);

/*
 * Binds and starts everything, and logs mistakes. 0, or the exit status. Handles signals while it waits for host
 * names; after a stop nothing is started, and server_run() returns at once.
 */
int server_start(struct server *server);

/* Reports that it is ready, serves until a stop, closes the stores, and returns the exit status. */
int server_run(struct server *server);

/* Frees all in the reverse order; clients that are left are cut off. NULL is fine. */
void server_free(struct server *server);

/* Opens the log's file again, and logs how that went. 0, or -1 with why, and the old file stays in use. */
int server_reopen_log(const struct server *server, char *why, size_t why_size);

/* For reload.c: applies the log level of the config in force, and -v and -q of the command line. */
void server_use_log_level(const struct server *server);
void server_log_errors(const char *subject, const struct strings *errors);
/* Counts what is served now. */
void server_count(const struct server *server, size_t *services, size_t *addresses);

#endif
