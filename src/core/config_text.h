/* The text of a config: the bytes of its file, and the tree that libconfig makes of them. The caller frees both. */
#ifndef ECHOD_CORE_CONFIG_TEXT_H
#define ECHOD_CORE_CONFIG_TEXT_H

#include <libconfig.h>
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

/*
 * Parses the text; includes are relative to the directory, "" = to the current one. 0, or -1 with errno: EINVAL, and
 * the tree says what is wrong; or ENOMEM. The tree is the caller's to destroy in any case.
 */
int text_parse(config_t *tree, const char *text, const char *include_directory);

#endif
