/* Waits for descriptors, with a deadline and a message for the user, and for Ctrl-C. */
#ifndef ECHOD_ECHOCTL_WAIT_H
#define ECHOD_ECHOCTL_WAIT_H

#include <poll.h>
#include <stdint.h>

/* Times are those of clock_us(). */
struct waiting {
	const char *what; /* whom for; NULL = silently */
	int64_t since;    /* when it began */
	int64_t deadline; /* INT64_MAX = never */
};

/*
 * poll(2) until the deadline. From the second second on, a line on the terminal says what is waited
 * for; it is erased before this returns. The number of ready descriptors, 0 at the deadline, -1 with
 * errno.
 */
int wait_poll(const struct waiting *waiting, struct pollfd *fds, nfds_t count);

/* `patience` from now on, INT64_MAX being for ever. */
int64_t wait_deadline(int64_t since, int64_t patience);

/*
 * A descriptor that becomes readable at SIGINT, SIGTERM, SIGHUP and SIGPIPE, which from now on do not end the process.
 * It stays open until the process ends. -1 with errno.
 */
int wait_signals(void);

#endif
