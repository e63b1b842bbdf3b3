/* ppoll(2) in slices of a second while a line on the terminal counts them. */
#include "echoctl/wait.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "core/clock.h"

#define SECOND_US 1000000

int64_t wait_deadline(int64_t since, int64_t patience)
{
	return patience == INT64_MAX ? INT64_MAX : since + patience;
}

static int poll_until(struct pollfd *fds, nfds_t count, int64_t deadline)
{
	int64_t left = deadline - clock_us();
	struct timespec timeout;

	if (deadline == INT64_MAX)
		return ppoll(fds, count, NULL, NULL);
	if (left < 0)
		left = 0;
	timeout.tv_sec = left / SECOND_US;
	timeout.tv_nsec = left % SECOND_US * 1000;
	return ppoll(fds, count, &timeout, NULL);
}

/* Returns when to show it again. */
static int64_t show_waiting(const struct waiting *waiting, bool *shown)
{
	int64_t seconds = (clock_us() - waiting->since) / SECOND_US;

	if (seconds > 0) {
		fprintf(stderr, "\rwaiting for %s (%lld s)", waiting->what, (long long)seconds);
		*shown = true;
	}
	return waiting->since + (seconds + 1) * SECOND_US;
}

int wait_poll(const struct waiting *waiting, struct pollfd *fds, nfds_t count)
{
	bool visible = waiting->what != NULL && isatty(STDERR_FILENO), shown = false;
	int64_t until;
	int ready;

	do {
		until = visible ? show_waiting(waiting, &shown) : INT64_MAX;
		if (until > waiting->deadline)
			until = waiting->deadline;
		ready = poll_until(fds, count, until);
	} while (ready == -1 ? errno == EINTR : ready == 0 && until < waiting->deadline);
	if (shown) {
		int saved = errno;

		fputs("\r\033[K", stderr);
		errno = saved;
	}
	return ready;
}

int wait_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGPIPE);
	if (sigprocmask(SIG_BLOCK, &set, NULL) == -1)
		return -1;
	return signalfd(-1, &set, SFD_CLOEXEC);
}
