/* The line is on standard error, because standard output may be the data of the command. */
#include "echoctl/progress.h"

#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "core/clock.h"

#define INTERVAL_US 200000

void progress_start(struct progress *progress)
{
	*progress = (struct progress){ .visible = isatty(STDERR_FILENO) };
}

bool progress_is_due(struct progress *progress)
{
	int64_t now;

	if (!progress->visible || (now = clock_us()) - progress->shown < INTERVAL_US)
		return false;
	progress->shown = now;
	return true;
}

void progress_show(const char *format, ...)
{
	va_list args;

	fputs("\r\033[K", stderr);
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
}

void progress_erase(struct progress *progress)
{
	if (progress->shown != 0)
		fputs("\r\033[K", stderr);
	progress->shown = 0;
}
