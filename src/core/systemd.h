/* libsystemd, or stand-ins that find no service manager. */
#ifndef ECHOD_CORE_SYSTEMD_H
#define ECHOD_CORE_SYSTEMD_H

#include <stdbool.h>
#include <stdint.h>

#include "build.h"

#ifdef HAVE_SYSTEMD
#include <systemd/sd-daemon.h>

static const bool built_with_systemd = true;
#else
static const bool built_with_systemd = false;

static inline int sd_notify(int unset_environment, const char *state)
{
	(void)unset_environment;
	(void)state;
	return 0;
}

static inline int sd_watchdog_enabled(int unset_environment, uint64_t *interval)
{
	(void)unset_environment;
	*interval = 0;
	return 0;
}

static inline int sd_listen_fds_with_names(int unset_environment, char ***names)
{
	(void)unset_environment;
	*names = NULL;
	return 0;
}

#define SD_LISTEN_FDS_START 3
#endif

#endif
