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
 * Something that may take long, such as loading a store, begins or has made progress: extends the manager's timeouts for
 * start and reload, and feeds its watchdog. Must be called by the thread of the loop.
 */
void notify_step(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* One line in the log when a manager expects to hear from us and libsystemd was not built in. */
void notify_check(void);

#endif
