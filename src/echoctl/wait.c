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

int wait_poll(const struct waiting *waiting, struct pollfd *fds, nfds_t count)
{
	bool visible = waiting->what != NULL && isatty(STDERR_FILENO), shown = false;
	int64_t until, left, seconds;
	struct timespec timeout;
	int ready, saved;

	do {
		until = waiting->deadline;
		if (visible) {
			seconds = (clock_us() - waiting->since) / SECOND_US;
			if (seconds > 0)
				fprintf(stderr, "\rwaiting for %s (%lld s)", waiting->what,
				    (long long)seconds);
			shown |= seconds > 0;
			if (until > waiting->since + (seconds + 1) * SECOND_US)
				until = waiting->since + (seconds + 1) * SECOND_US;
		}
		left = until - clock_us();
		if (left < 0)
			left = 0;
		timeout = (struct timespec){ left / SECOND_US, left % SECOND_US * 1000 };
		ready = ppoll(fds, count, until == INT64_MAX ? NULL : &timeout, NULL);
	} while (ready == -1 ? errno == EINTR : ready == 0 && until < waiting->deadline);
	if (shown) {
		saved = errno;
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
