/* Paths. What is returned is the caller's to free, or NULL with errno. */
#ifndef ECHOD_CORE_PATH_H
#define ECHOD_CORE_PATH_H

/* The path from the root on, whether or not there is such a file: it holds wherever we go. */
char *path_absolute(const char *path);

#endif
