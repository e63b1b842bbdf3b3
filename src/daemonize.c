/*
 * The parent waits at a socketpair, which also closes when the child dies early. It passes TERM and INT on to the
 * child; otherwise an interrupted start would go on in the background.
 */
#include "daemonize.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/log.h"
#include "core/process.h"
#include "core/standard.h"

/* The status that the child reports, or with which it died. */
static int await_report(int report, pid_t child)
{
	struct pollfd ready[2] = { { .fd = report, .events = POLLIN }, { .events = POLLIN } };
	struct signalfd_siginfo info;
	unsigned char status;
	sigset_t stops;
	ssize_t n;
	int died;

	sigemptyset(&stops);
	sigaddset(&stops, SIGTERM);
	sigaddset(&stops, SIGINT);
	ready[1].fd = signalfd(-1, &stops, SFD_CLOEXEC); /* poll(2) ignores a -1 */
	while (poll(ready, 2, -1) == -1 || ready[0].revents == 0) {
		if (ready[1].revents == 0 || read(ready[1].fd, &info, sizeof(info)) != sizeof(info))
			continue;
		kill(child, (int)info.ssi_signo);
		signal((int)info.ssi_signo, SIG_DFL);
		raise((int)info.ssi_signo);
		process_unblock_signals(); /* the pending signal ends us here */
	}
	do
		n = recv(report, &status, 1, 0);
	while (n == -1 && errno == EINTR);
	if (n == 1)
		return status;
	if (waitpid(child, &died, 0) == child && WIFEXITED(died))
		return WEXITSTATUS(died);
	return EXIT_FAILURE;
}

int daemonize(int *status)
{
	int report[2];
	pid_t child;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, report) == -1)
		return -1;
	if ((child = fork()) == -1) {
		close(report[0]);
		close(report[1]);
		return -1;
	}
	if (child != 0) {
		close(report[1]);
		*status = await_report(report[0], child);
		return -2;
	}
	close(report[0]);
	setsid();
	return report[1];
}

void daemonize_report(int report, int status)
{
	unsigned char byte = (unsigned char)status;
	int nowhere;

	if (status == EXIT_SUCCESS) {
		/* Frees the terminal, and the directory, which could not be unmounted otherwise. */
		nowhere = standard_open_nowhere();
		for (int fd = STDIN_FILENO; nowhere != -1 && fd <= STDERR_FILENO; fd++)
			dup2(nowhere, fd);
		if (nowhere > STDERR_FILENO)
			close(nowhere);
		if (chdir("/") == -1)
			log_warning(
			    "echod: cannot change to the root directory: %s", strerror(errno));
	}
	send(report, &byte, 1, MSG_NOSIGNAL);
	close(report);
}
