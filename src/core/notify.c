/* Messages to the service manager, each one datagram of lines NAME=VALUE. */
#include "core/notify.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/systemd.h"

#define PATIENCE_US (30 * INT64_C(1000000)) /* that a step of something long may take */
#define MARGIN_US (10 * INT64_C(1000000))   /* for the end of a stop, once its waiting is over */

/* Both texts are of our own making, but a sentence may hold a path with a line feed in it. */
static void tell(const char *state, const char *format, va_list args)
    __attribute__((format(printf, 2, 0)));

static void tell(const char *state, const char *format, va_list args)
{
	char sentence[512], message[640];

	vsnprintf(sentence, sizeof(sentence), format, args);
	for (char *at = sentence; (at = strchr(at, '\n')) != NULL;)
		*at = ' ';
	snprintf(message, sizeof(message), "%s\nSTATUS=%s", state, sentence);
	sd_notify(0, message);
}

void notify_ready(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	tell("READY=1", format, args);
	va_end(args);
}

void notify_reloading(void)
{
	char message[80];

	snprintf(message, sizeof(message), "RELOADING=1\nMONOTONIC_USEC=%" PRId64, clock_us());
	sd_notify(0, message);
}

void notify_stopping(int64_t wait_ms, const char *format, ...)
{
	char state[80];
	va_list args;

	snprintf(state, sizeof(state), "STOPPING=1\nEXTEND_TIMEOUT_USEC=%" PRId64,
	    wait_ms * 1000 + MARGIN_US);
	va_start(args, format);
	tell(state, format, args);
	va_end(args);
}

int64_t notify_watchdog(void)
{
	uint64_t interval = 0;

	if (sd_watchdog_enabled(0, &interval) <= 0)
		return 0;
	return interval < 2000 ? 1 : (int64_t)(interval / 2000);
}

void notify_alive(void)
{
	sd_notify(0, "WATCHDOG=1");
}

void notify_step(const char *format, ...)
{
	char state[80];
	va_list args;

	snprintf(state, sizeof(state), "WATCHDOG=1\nEXTEND_TIMEOUT_USEC=%" PRId64, PATIENCE_US);
	va_start(args, format);
	tell(state, format, args);
	va_end(args);
}

void notify_check(void)
{
	if (!built_with_systemd &&
	    (getenv("NOTIFY_SOCKET") != NULL || getenv("LISTEN_FDS") != NULL))
		log_warning("echod: built without libsystemd: the service manager gets no "
			    "notifications, and the sockets that it has opened are not used");
}
