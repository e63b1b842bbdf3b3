/*
 * A child: a program that runs for a client, and the session and process group that it leads. It belongs to
 * its instance, for it may outlive the client; it is freed when it is reaped and its group is empty. No signal
 * handler is involved: a pidfd is readable when it ends.
 */
#ifndef ECHOD_NET_CHILD_H
#define ECHOD_NET_CHILD_H

#include <stdint.h>

struct child;
struct instance;
struct loop;
struct strings;

struct child_options {
	const char *path; /* of the executable */
	const struct strings *arguments, *environment;
	int fd;            /* becomes its standard input and output, and stays the caller's */
	const char *label; /* for log lines: the service and the client */
	int64_t timeout;   /* ms, then it is ended; 0 = never */
	/* Called once the program has ended; unread output of it may remain. */
	void (*ended)(void *owner);
	void *owner;
};

/* NULL with errno. What it writes to its standard error goes to the log. */
struct child *child_start(struct instance *instance, const struct child_options *options);

/*
 * The owner goes, and `ended` is not called any more: TERM to the program's group, and KILL 5 s later if it still
 * lives.
 */
void child_leave(struct child *child);

/*
 * The same for a program that has closed its output. Most such programs are about to exit, so it gets a moment to
 * exit with a status of its own.
 */
void child_release(struct child *child);

/*
 * Ends all remaining children of the instance (TERM, a moment, KILL) and waits for them; for the very end.
 */
void children_finish(struct instance *instance);

/*
 * Reaps children that have ended, after SIGCHLD: programs, and processes that it has not started itself, as process
 * 1 of a container, as a subreaper, or from before its own exec.
 */
void children_reap(struct loop *loop);

#endif
