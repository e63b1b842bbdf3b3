/* All of this state survives an exec, so a daemon can rely on none of it. */
#include "core/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

#define UMASK 0027 /* at least; at most 0077, because we have to open our own files again */

static struct {
	bool known;
	sigset_t blocked, ignored;
	mode_t umask;
	struct rlimit files;
} origin;

/* The signals that the daemon has handlers for. */
static sigset_t handled_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	return set;
}

void process_begin(void)
{
	const sigset_t ours = handled_signals();
	const struct itimerval none = { 0 };
	struct sigaction action;
	struct rlimit files;
	sigset_t pending;

	setitimer(ITIMER_REAL, &none, NULL);
	setitimer(ITIMER_VIRTUAL, &none, NULL);
	setitimer(ITIMER_PROF, &none, NULL);
	sigprocmask(SIG_BLOCK, &ours, &origin.blocked);
	sigemptyset(&origin.ignored);
	for (int n = 1; n < NSIG; n++)
		if (sigaction(n, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
			sigaddset(&origin.ignored, n);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* writing past the limit of file sizes fails with EFBIG */
	signal(SIGTTOU, SIG_IGN); /* a background job may log to its terminal */
	signal(SIGCHLD, SIG_DFL); /* if it were ignored, no child would have a status */
	/* A pending signal survives an exec, too, and would kill the daemon unless that has a handler for it. */
	sigpending(&pending);
	for (int n = 1; n < NSIG; n++)
		if (sigismember(&pending, n) == 1 && sigismember(&ours, n) == 0 &&
		    signal(n, SIG_IGN) == SIG_DFL)
			signal(n, SIG_DFL);
	sigprocmask(SIG_SETMASK, &ours, NULL);
	origin.umask = umask(UMASK);
	umask(UMASK | (origin.umask & 0077));
	if (getrlimit(RLIMIT_NOFILE, &origin.files) == 0) {
		files = origin.files;
		files.rlim_cur = files.rlim_max; /* each client takes one */
		setrlimit(RLIMIT_NOFILE, &files);
		origin.known = true;
	}
}

static void stop_early(int number)
{
	(void)number;
	_exit(EXIT_SUCCESS);
}

void process_let_stop(void)
{
	sigset_t stops;

	signal(SIGTERM, stop_early);
	signal(SIGINT, stop_early);
	sigemptyset(&stops);
	sigaddset(&stops, SIGTERM);
	sigaddset(&stops, SIGINT);
	sigprocmask(SIG_UNBLOCK, &stops, NULL);
}

void process_block_signals(void)
{
	const sigset_t ours = handled_signals();

	sigprocmask(SIG_BLOCK, &ours, NULL);
}

void process_unblock_signals(void)
{
	const sigset_t ours = handled_signals();

	sigprocmask(SIG_UNBLOCK, &ours, NULL);
}

void process_close_strays(void)
{
	DIR *directory = opendir("/proc/self/fd/");
	const struct dirent *entry;
	int fd, flags;

	while (directory != NULL && (entry = readdir(directory)) != NULL) {
		fd = atoi(entry->d_name);
		flags = fcntl(fd, F_GETFD);
		if (fd > STDERR_FILENO && flags != -1 && !(flags & FD_CLOEXEC))
			close(fd);
	}
	if (directory != NULL)
		closedir(directory);
}

/* Resets the handlers before it unblocks: in a child, a handler would act for the parent. */
void process_restore(void)
{
	struct sigaction action = { 0 };
	sigset_t blocked;

	sigemptyset(&blocked);
	if (origin.known)
		blocked = origin.blocked;
	sigdelset(&blocked, SIGTERM);
	sigdelset(&blocked, SIGCHLD);
	for (int n = 1; n < NSIG; n++) {
		bool ignored = origin.known && n != SIGTERM && n != SIGCHLD &&
			       sigismember(&origin.ignored, n) == 1;

		action.sa_handler = ignored ? SIG_IGN : SIG_DFL;
		sigaction(n, &action, NULL);
	}
	if (origin.known) {
		setrlimit(RLIMIT_NOFILE, &origin.files);
		umask(origin.umask);
	}
	sigprocmask(SIG_SETMASK, &blocked, NULL);
}
