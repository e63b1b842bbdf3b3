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
struct texts;

struct child_options {
	const char *path; /* of the executable */
	const struct texts *arguments, *environment;
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
 * The same, of a program whose output is at an end. Most are about to exit: it gets a moment for that, so that
 * its status is its own.
 */
void child_release(struct child *child);

/*
 * Ends all that are left of the instance (TERM, a moment, KILL), and waits for it; for the very
 * end.
 */
void children_finish(struct instance *instance);

/*
 * A child of this process has ended (SIGCHLD): a program, or one that it has inherited as process 1 of a container,
 * as a subreaper, or from what it was before its own exec. The latter are reaped, too.
 */
void children_reap(struct loop *loop);

#endif
