/*
 * The life of a child: spawn, the timer of its timeout and its end, its status. Once the program
 * itself is reaped, the number of its group stays taken as long as anybody is in it, so that a
 * signal finds no stranger.
 */
#include "net/child.h"

#include <errno.h>
#include <event2/event.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/process.h"
#include "core/strings.h"
#include "net/instance.h"
#include "net/logpipe.h"
#include "net/loop.h"

#define KILL_MS 5000   /* after TERM */
#define POLL_MS 100    /* until the next check whether the group of an ended program is empty */
#define FINISH_MS 500  /* for all children of an instance, when we end ourselves */
#define GIVE_UP_MS 500 /* of a killed one that does not die: it waits for a device */

struct child {
	LIST_ENTRY(child) entry, in_loop;
	struct instance *instance;
	pid_t pid;       /* and of the group */
	int pidfd;       /* -1 = the program is reaped */
	int64_t kill_at; /* ms; 0 = it may run on; without an owner, see child_release() */
	struct event *exit, *timer;
	struct logpipe *errors;
	void (*ended)(void *owner);
	void *owner; /* NULL once it has gone or `ended` was called */
	char label[];
};

/* --- the end --- */

static void child_free(struct child *c)
{
	loop_free_event(c->exit);
	loop_free_event(c->timer);
	if (c->pidfd != -1)
		close(c->pidfd);
	logpipe_free(c->errors);
	free(c);
}

/* The program is reaped and its group is empty. */
static void child_end(struct child *c)
{
	LIST_REMOVE(c, entry);
	LIST_REMOVE(c, in_loop);
	loop_announce_departure(c->instance->loop);
	child_free(c);
}

static void wait_ms(struct child *c, int64_t ms)
{
	const struct timeval tv = { .tv_sec = ms / 1000, .tv_usec = ms % 1000 * 1000 };

	evtimer_add(c->timer, &tv);
}

static void terminate(struct child *c)
{
	if (c->kill_at != 0)
		return;
	c->kill_at = clock_ms() + KILL_MS;
	kill(-c->pid, SIGTERM);
	wait_ms(c, KILL_MS);
}

/* Ends the child once the group of its reaped program is empty, which is polled. */
static void reap_group(struct child *c)
{
	/* In a container we may be the init that they fall to. */
	while (waitpid(-c->pid, NULL, WNOHANG) > 0)
		continue;
	if (kill(-c->pid, 0) == -1)
		child_end(c);
	else
		wait_ms(c, POLL_MS);
}

/* Waits until the program has ended; false = the deadline in ms has passed. A signal interrupts a poll(). */
static bool wait_exit(const struct child *c, int64_t deadline)
{
	struct pollfd exited = { .fd = c->pidfd, .events = POLLIN };
	int64_t ms;
	int result;

	do {
		ms = deadline - clock_ms();
		result = poll(&exited, 1, ms > 0 ? (int)ms : 0);
	} while (result == -1 && errno == EINTR);
	return result == 1;
}

static void child_timer_cb(evutil_socket_t fd, short events, void *arg)
{
	struct child *c = arg;

	(void)fd;
	(void)events;
	if (c->kill_at == 0 && c->pidfd != -1 && wait_exit(c, 0))
		return; /* it has ended in time: exit_cb() follows */
	if (c->kill_at == 0 && c->owner == NULL) {
		terminate(c);
	} else if (c->kill_at == 0) {
		log_limited(&c->instance->service_lines, LOG_LEVEL_INFO,
		    "%s: the program is over its timeout, it is ended", c->label);
		terminate(c);
	} else if (clock_ms() < c->kill_at) {
		reap_group(c);
	} else {
		kill(-c->pid, SIGKILL);
		if (c->pidfd == -1)
			child_end(c);
	}
}

/* Fetches and logs the status of a program that has ended, and counts it out. */
static void child_reap(struct child *c)
{
	siginfo_t status = { 0 };
	bool known, exited;
	int code;

	known =
	    waitid(P_PIDFD, (id_t)c->pidfd, &status, WEXITED | WNOHANG) == 0 && status.si_pid != 0;
	exited = status.si_code == CLD_EXITED;
	code = status.si_status;
	/* Once we have ended it, no exit status is a failure, nor is the signal that we sent or caused. */
	if (known && ((exited && code == 0) ||
			 (c->kill_at != 0 &&
			     (exited || code == SIGTERM || code == SIGKILL || code == SIGPIPE)))) {
		log_debug("%s: the program has ended (%s %d)", c->label,
		    exited ? "exit status" : "signal", code);
	} else if (known) {
		c->instance->failed_programs++;
		log_limited(&c->instance->service_lines, LOG_LEVEL_INFO,
		    exited ? "%s: the program has failed with exit status %d"
			   : "%s: the program was killed by signal %d",
		    c->label, code);
	}
	event_del(c->exit);
	close(c->pidfd);
	c->pidfd = -1;
	c->instance->child_count--;
	c->instance->loop->children--;
	loop_announce_departure(c->instance->loop);
}

static void child_exited(struct child *c)
{
	void *owner = c->owner;

	child_reap(c);
	c->owner = NULL;
	if (owner != NULL)
		c->ended(owner);
	terminate(c); /* the rest of its group, if any */
	reap_group(c);
}

static void exit_cb(evutil_socket_t fd, short events, void *arg)
{
	(void)fd;
	(void)events;
	child_exited(arg);
}

void children_reap(struct loop *loop)
{
	siginfo_t ended = { 0 };
	struct child *c;

	/* __WNOTHREAD: another thread waits for its own children. */
	while (waitid(P_ALL, 0, &ended, WEXITED | WNOHANG | WNOWAIT | __WNOTHREAD) == 0 &&
	       ended.si_pid != 0) {
		LIST_FOREACH (c, &loop->programs, in_loop)
			if (c->pid == ended.si_pid && c->pidfd != -1)
				break;
		if (c != NULL)
			child_exited(c);
		else if (waitpid(ended.si_pid, NULL, WNOHANG) == -1)
			return;
		ended.si_pid = 0;
	}
}

void child_leave(struct child *c)
{
	c->owner = NULL;
	terminate(c);
}

void child_release(struct child *c)
{
	c->owner = NULL;
	if (c->kill_at == 0)
		wait_ms(c, POLL_MS);
}

void children_finish(struct instance *instance)
{
	int64_t deadline = clock_ms() + FINISH_MS;
	struct child *c;

	LIST_FOREACH (c, &instance->children, entry)
		child_leave(c);
	while ((c = LIST_FIRST(&instance->children)) != NULL) {
		if (c->pidfd != -1)
			wait_exit(c, deadline);
		kill(-c->pid, SIGKILL);
		if (c->pidfd != -1) {
			wait_exit(c, clock_ms() + GIVE_UP_MS);
			child_reap(c);
		}
		child_end(c);
	}
}

/* --- the start --- */

/* In the child: a new session, descriptors 0, 1 and 2, our inherited state. Returns only on failure: an errno. */
static int child_become(
    const struct child_options *options, int errors, char *const *argv, char *const *envp)
{
	if (setsid() == -1 || dup2(options->fd, STDIN_FILENO) == -1 ||
	    dup2(options->fd, STDOUT_FILENO) == -1 || dup2(errors, STDERR_FILENO) == -1 ||
	    chdir("/") == -1)
		return errno;
	closefrom(STDERR_FILENO + 1);
	process_restore();
	execve(options->path, argv, envp);
	return errno;
}

/*
 * Uses vfork(): fork() would copy the page tables of the whole store, and posix_spawn() sets neither limits nor the
 * umask nor ignored signals. (Lowering our own limit for a moment would hit the threads of a store.) The child shares
 * our memory until its execve(), so signals stay blocked lest a handler of ours runs in it. 0, or an error number.
 */
static int child_spawn(pid_t *pid, const struct child_options *options, int errors)
{
	const struct strings *arguments = options->arguments, *environment = options->environment;
	char **argv = calloc(arguments->count + 1, sizeof(char *));
	char **envp = calloc(environment->count + 1, sizeof(char *));
	volatile int error = 0;
	sigset_t all, before;

	if (argv == NULL || envp == NULL) {
		free(argv);
		free(envp);
		return ENOMEM;
	}
	memcpy(argv, arguments->items, arguments->count * sizeof(char *));
	memcpy(envp, environment->items, environment->count * sizeof(char *));
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	*pid = vfork();
	if (*pid == 0) {
		error = child_become(options, errors, argv, envp);
		_exit(127);
	}
	if (*pid == -1)
		error = errno;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (*pid != -1 && error != 0)
		waitpid(*pid, NULL, 0);
	free(argv);
	free(envp);
	return error;
}

/* Runs it; one that cannot be watched does not run on. */
static int child_run(struct child *c, const struct child_options *options)
{
	struct event_base *base = c->instance->loop->base;
	int errors, error;

	c->errors = logpipe_new(base, &c->instance->service_lines, c->label, &errors);
	if (c->errors == NULL)
		return -1;
	error = child_spawn(&c->pid, options, errors);
	close(errors);
	if (error != 0) {
		errno = error;
		return -1;
	}
	c->pidfd = pidfd_open(c->pid, 0);
	if (c->pidfd != -1)
		c->exit = event_new(base, c->pidfd, EV_READ | EV_PERSIST, exit_cb, c);
	if (c->exit == NULL || event_add(c->exit, NULL) == -1) {
		error = errno;
		kill(c->pid, SIGKILL);
		kill(-c->pid, SIGKILL);
		waitpid(c->pid, NULL, 0);
		errno = error;
		return -1;
	}
	return 0;
}

struct child *child_start(struct instance *instance, const struct child_options *options)
{
	size_t label_size = strlen(options->label) + 1;
	struct child *c = calloc(1, sizeof(*c) + label_size);

	if (c == NULL)
		return NULL;
	memcpy(c->label, options->label, label_size);
	c->instance = instance;
	c->pidfd = -1;
	c->ended = options->ended;
	c->owner = options->owner;
	c->timer = evtimer_new(instance->loop->base, child_timer_cb, c);
	if (c->timer == NULL || child_run(c, options) == -1) {
		int saved = errno;

		child_free(c);
		errno = saved;
		return NULL;
	}
	if (options->timeout != 0)
		wait_ms(c, options->timeout);
	LIST_INSERT_HEAD(&instance->children, c, entry);
	LIST_INSERT_HEAD(&instance->loop->programs, c, in_loop);
	instance->child_count++;
	instance->loop->children++;
	return c;
}
