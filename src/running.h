/*
 * What is in force: the configuration, the loop with its instances, and what is still draining. The server owns all
 * of it; the start and every reload put another configuration in force by a reload plan.
 */
#ifndef ECHOD_RUNNING_H
#define ECHOD_RUNNING_H

#include <stdbool.h>
#include <stddef.h>

#include "draining.h"

struct config;
struct inherited;
struct loop;
struct strings;

struct running {
	struct config *config; /* NULL before the start's plan is committed */
	struct loop *loop;
	const char *config_file;     /* absolute */
	struct inherited *inherited; /* sockets that we were started with; outlive us */
	struct draining_list draining;
	int verbosity; /* levels more (or, negative, fewer) than the config says */
	bool detached; /* stderr leads nowhere: syslog takes its place */
};

/* Applies the log level of the config, and -v and -q of the command line. */
void running_set_log_level(const struct running *running);

/* Counts the instances, and the listeners that are bound. */
void running_count(const struct running *running, size_t *services, size_t *addresses);

/* Logs each as an error of the subject: "echod", "reload". */
void log_errors(const char *subject, const struct strings *errors);

#endif
