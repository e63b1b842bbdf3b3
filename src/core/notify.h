/*
 * What the service manager is told (sd_notify). Without libsystemd, or without a manager that listens,
 * every call does nothing.
 */
#ifndef ECHOD_CORE_NOTIFY_H
#define ECHOD_CORE_NOTIFY_H

void notify_ready(const char *status);
void notify_reloading(void);
void notify_stopping(void);

#endif
