/*
 * The server: start -> reload -> drain -> stop. Everything of one running daemon hangs on it, so that a test
 * can run two in one process.
 */
#ifndef ECHOD_SERVER_H
#define ECHOD_SERVER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reload.h"
#include "running.h"

struct config;
struct error;
struct event;
struct host;
struct inherited;
struct loop_lag;
struct renewal;

#define SERVER_SIGNALS 6

enum server_phase {
	SERVER_STARTS, /* host names are looked up; then all is served, but stores are being loaded */
	SERVER_RUNS,
	SERVER_STOPS,
};

struct server {
	struct running running;
	struct reloads reloads;
	const struct host *host; /* answers the control service */
	char *config_file;
	struct event *signals[SERVER_SIGNALS];
	bool signalled[SERVER_SIGNALS]; /* in this turn */
	struct event *signal_server;    /* activated by the first of them */
	struct event *watchdog;         /* NULL = nobody watches us */
	struct event *departed;         /* streams have ended that somebody waits for */
	struct event *service_started;  /* one of them has started, or cannot */
	struct event *stop_timer;       /* while stopping */
	struct loop_lag *loop_lag;
	struct renewal *renewal;
	int64_t started; /* clock_ms() */
	enum server_phase phase;
	int status; /* to exit with: not 0 if a service has failed to start */
};

/*
 * Owns the config; nothing is bound yet. The host is the caller's, and outlives the server. NULL when out of memory,
 * and the config stays the caller's.
 */
struct server *server_new(struct host *host, struct config *config, const char *config_file,
    struct inherited *inherited, int verbosity, bool detached);

/*
 * Binds and starts everything, and logs errors. 0, or the exit status. Handles signals while it waits for host
 * names; serves clients while it waits for stores to be loaded. After a stop, server_run() returns at once.
 */
int server_start(struct server *server);

/* Reports that it is ready, serves until a stop, closes the stores, and returns the exit status. */
int server_run(struct server *server);

/* Frees all in the reverse order; clients that are left are cut off. NULL is fine. */
void server_free(struct server *server);

/* Opens the log's file again, and logs how that went. 0, or -1 with the error, and the old file stays in use. */
int server_reopen_log(const struct server *server, struct error *error);

#endif
