/* Paths. What is returned is the caller's to free, or NULL with errno. */
#ifndef ECHOD_CORE_PATH_H
#define ECHOD_CORE_PATH_H

/* The path from the root on, whether or not there is such a file: it holds wherever we go. */
char *path_absolute(const char *path);

/* As libconfig joins them: an absolute file, or an empty directory, leaves the file as it is. */
char *path_join(const char *directory, const char *file);

/*
 * One spelling for all of an absolute path: without links as far as it is there, and without //, . and .. from
 * there on.
 */
char *path_canonical(const char *path);

/* "" for a file without a slash. */
char *path_directory(const char *file);

#endif
