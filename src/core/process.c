/* All of this outlives an exec, and little of it is what a daemon needs. */
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

#define UMASK 0027 /* at least; never more than 0077, for what we make we have to open again */

static struct {
	bool known;
	sigset_t blocked, ignored;
	mode_t umask;
	struct rlimit files;
} origin;

static void set_of_signals(sigset_t *set)
{
	sigemptyset(set);
	sigaddset(set, SIGHUP);
	sigaddset(set, SIGINT);
	sigaddset(set, SIGTERM);
	sigaddset(set, SIGUSR1);
	sigaddset(set, SIGUSR2);
}

/*
 * A signal that waits while it is blocked survives an exec, too. Those that the daemon has handlers for stay, the
 * others would kill it now.
 */
static void discard_pending(const sigset_t *kept)
{
	sigset_t pending;

	sigpending(&pending);
	for (int n = 1; n < NSIG; n++)
		if (sigismember(&pending, n) == 1 && sigismember(kept, n) == 0 &&
		    signal(n, SIG_IGN) == SIG_DFL)
			signal(n, SIG_DFL);
}

static void begin_signals(void)
{
	struct sigaction action;
	sigset_t ours;

	set_of_signals(&ours);
	sigprocmask(SIG_BLOCK, &ours, &origin.blocked);
	sigemptyset(&origin.ignored);
	for (int n = 1; n < NSIG; n++)
		if (sigaction(n, NULL, &action) == 0 && action.sa_handler == SIG_IGN)
			sigaddset(&origin.ignored, n);
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a file that is over its limit shows as EFBIG */
	signal(SIGTTOU, SIG_IGN); /* the log goes to a terminal, in the background */
	signal(SIGCHLD, SIG_DFL); /* ignored, no child would have a status */
	discard_pending(&ours);
	sigprocmask(SIG_SETMASK, &ours, NULL);
}

void process_begin(void)
{
	const struct itimerval none = { 0 };
	struct rlimit files;

	setitimer(ITIMER_REAL, &none, NULL);
	setitimer(ITIMER_VIRTUAL, &none, NULL);
	setitimer(ITIMER_PROF, &none, NULL);
	begin_signals();
	origin.umask = umask(UMASK);
	umask(UMASK | (origin.umask & 0077));
	if (getrlimit(RLIMIT_NOFILE, &origin.files) == 0) {
		files = origin.files;
		files.rlim_cur = files.rlim_max; /* one for each client */
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

void process_hold_signals(void)
{
	sigset_t ours;

	set_of_signals(&ours);
	sigprocmask(SIG_BLOCK, &ours, NULL);
}

void process_take_signals(void)
{
	sigset_t ours;

	set_of_signals(&ours);
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

/* Handlers first: one that ran in a child would take its signal for the parent's. */
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
