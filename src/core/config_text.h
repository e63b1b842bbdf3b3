/*
 * The bytes of a config's file. What is returned is the caller's to free.
 */
#ifndef ECHOD_CORE_CONFIG_TEXT_H
#define ECHOD_CORE_CONFIG_TEXT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * A file of at most 16 MiB, a line end and NUL added; *length is without them. NULL with errno. Only with may_wait it
 * may be a pipe or a terminal, which is read to its end.
 */
char *text_read(const char *file, bool may_wait, size_t *length);

/* Says why text_read() has failed with that errno. */
const char *text_describe(int error);

/* A line of the text, from 1, without the blanks around it and fit for a report. Returns `to`. */
char *text_line(const char *text, int line, char *to, size_t size);

#endif
