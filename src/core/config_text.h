/* The text of a config: the bytes of its file, and the tree that libconfig makes of them. The caller frees both. */
#ifndef ECHOD_CORE_CONFIG_TEXT_H
#define ECHOD_CORE_CONFIG_TEXT_H

#include <libconfig.h>
#include <stdbool.h>
#include <stddef.h>

struct config;
struct error;

/*
 * A file of at most 16 MiB, a line end and NUL added; *length is without them. NULL with an error, also when we were
 * started as root and other users can write to the file. Only with may_wait it may be a pipe or a terminal, which is
 * read to its end.
 */
char *text_read(const char *file, bool may_wait, size_t *length, struct error *error);

/* The same for a file of the config, which keeps its name and its text; a file is read once. */
const char *text_keep(
    struct config *config, const char *file, bool may_wait, size_t *length, struct error *error);

/* The text of a file that the config has kept, or NULL. */
const char *text_kept(const struct config *config, const char *file);

/* A line of the text, from 1, without the blanks around it and fit for a report. Returns `to`. */
char *text_line(const char *text, int line, char *to, size_t size);

/*
 * Parses the text; includes are relative to the directory, "" = to the current one. 0, or -1 with errno: EINVAL, and
 * the tree says what is wrong; or ENOMEM. The tree is the caller's to destroy in any case.
 */
int text_parse(config_t *tree, const char *text, const char *include_directory);

#endif
