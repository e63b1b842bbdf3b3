/*
 * A child: a program that runs for a client, and the session and process group that it leads. It belongs to
 * its instance, for it may outlive the client; it is gone when the kernel has told its status and
 * its group is empty. No signal handler is involved: a pidfd tells when it ends.
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
	/* Is told once that the program has ended; it may have left output behind. */
	void (*ended)(void *owner);
	void *owner;
};

/* NULL with errno. What it writes to its standard error goes to the log. */
struct child *child_start(struct instance *instance, const struct child_options *options);

/*
 * The owner goes and is told no more: TERM to the program's group, and KILL 5 s later if it still
 * lives.
 */
void child_leave(struct child *child);

/*
 * The same for a program that has closed its output. Most such programs are about to exit, so it gets a moment to
 * exit with a status of its own.
 */
void child_release(struct child *child);

/*
 * Ends all that are left of the instance (TERM, a moment, KILL), and waits for it; for the very
 * end.
 */
void children_finish(struct instance *instance);

/*
 * Reaps children that have ended, after SIGCHLD: programs, and processes that it has not started itself, as process
 * 1 of a container, as a subreaper, or from before its own exec.
 */
void children_reap(struct loop *loop);

#endif
