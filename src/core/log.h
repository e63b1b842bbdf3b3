/*
 * The log: the one piece of global state. One line per call, to stderr, syslog or a file; a sink
 * that does not take a line at once loses it (the next line that passes says how many), so that the
 * log never blocks the loop.
 */
#ifndef ECHOD_CORE_LOG_H
#define ECHOD_CORE_LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/log_escape.h"
#include "core/option.h"

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARNING, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

struct log_settings {
	int level;    /* enum log_level */
	char *target; /* "stderr", "syslog" or an absolute path */
};

extern const struct option_row log_rows[];

/*
 * Sends lines to the target from now on, and says so where they went until now; root opens a file for the
 * user (see logfile.h). A file that is open already is reopened if it was rotated. 0, or -1 with an error
 * and the old target kept. Syslog need not be there yet. Before the first call lines go to stderr.
 */
int log_open(const char *target, const char *user, struct error *error);
/* Whether log_open() would work, as far as that can be seen without a trace. 0, or -1 with errno. */
int log_probe(const char *target);
/* Opens the target's file again (after a rotation); -1 with an error, and the old one kept. */
int log_reopen(struct error *error);
/* Whether that failed the last time, so that lines still go to the old file. */
bool log_is_stale(void);
/* "stderr", "syslog" or the file's path. */
const char *log_target(void);
void log_close(void);

void log_set_level(enum log_level level);
enum log_level log_level(void);
/* "warning". */
const char *log_level_name(enum log_level level);
/* The level of that name, or -1. */
int log_level_parse(const char *name);
/* Lines that no sink has taken, since the start. */
unsigned long log_lost(void);
/* Whether any of them was lost in the last so many milliseconds. */
bool log_has_lost_within(int64_t ms);
bool log_enabled(enum log_level level);

void log_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_warning(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_info(const char *format, ...) __attribute__((format(printf, 1, 2)));
void log_debug(const char *format, ...) __attribute__((format(printf, 1, 2)));

/*
 * A class of lines that somebody outside can provoke: a token bucket of `rate` lines a second. What it
 * holds back is counted and said with the next line that passes ("suppressed 1234 lines").
 */
struct log_class {
	unsigned rate; /* also the burst; 0 = 10 */
	double tokens;
	double refilled; /* seconds, monotonic */
	unsigned long suppressed;
};
void log_limited(struct log_class *class, enum log_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

#endif
