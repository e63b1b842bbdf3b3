/*
 * Messages to the service manager (sd_notify). Without libsystemd, or without a manager that listens,
 * every call does nothing. Formats make the sentence that `systemctl status` shows.
 */
#ifndef ECHOD_CORE_NOTIFY_H
#define ECHOD_CORE_NOTIFY_H

#include <stdint.h>

/* Started or reloaded: everything that is wanted is served. */
void notify_ready(const char *format, ...) __attribute__((format(printf, 1, 2)));
void notify_reloading(void);
/* The stop takes at most so many milliseconds. */
void notify_stopping(int64_t wait_ms, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Milliseconds between two signs of life that keep the manager's watchdog quiet; 0 = it has none. */
int64_t notify_watchdog(void);
void notify_alive(void);

/*
 * Before a step that may hold up the loop for some seconds: the manager's timeouts for start and reload are
 * put off, and its watchdog is fed.
 */
void notify_step(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The same for something long that gets on by itself, such as the loading of a store. */
struct notify_progress {
	const char *what; /* "Loading a store" */
	int64_t told;     /* us; begin with 0 */
};

/* To be called at every step, cheap: tells at most once a second, how much is done. */
void notify_progress(struct notify_progress *progress, uint64_t done);

/* One line in the log when a manager expects to hear from us and libsystemd was not built in. */
void notify_check(void);

#endif
