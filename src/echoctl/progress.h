/* The progress of a long command: a line on the terminal, which is erased at the end. */
#ifndef ECHOD_ECHOCTL_PROGRESS_H
#define ECHOD_ECHOCTL_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>

struct progress {
	bool visible;  /* standard error is a terminal */
	int64_t shown; /* when, in microseconds; 0 = never */
};

void progress_start(struct progress *progress);

/* Whether it is time to write the line again: a few times a second. */
bool progress_is_due(struct progress *progress);

/* Replaces the line. */
void progress_show(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Erases the line, if there is one. */
void progress_erase(struct progress *progress);

#endif
