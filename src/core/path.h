/* Paths. The caller frees the path that a function returns; NULL means failure, with errno. */
#ifndef ECHOD_CORE_PATH_H
#define ECHOD_CORE_PATH_H

#include <stdbool.h>

/* The path from the root on, whether or not there is such a file: it holds wherever we go. */
char *path_absolute(const char *path);

/* As libconfig joins them: an absolute file, or an empty directory, leaves the file as it is. */
char *path_join(const char *directory, const char *file);

/*
 * The canonical spelling of an absolute path: realpath(3) for as much of it as exists, and the rest without //, .
 * and .. .
 */
char *path_canonical(const char *path);

/* "" for a file without a slash. */
char *path_directory(const char *file);

/* Whether the path still names the file that the descriptor has open; a symbolic link is not followed. */
bool path_names(const char *path, int fd);

#endif
