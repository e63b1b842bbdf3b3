/* The file that tells others our process id; locked as long as we live. */
#ifndef ECHOD_CORE_PIDFILE_H
#define ECHOD_CORE_PIDFILE_H

#include <stddef.h>

/*
 * Creates and locks it before privileges are dropped: as root in a directory that only root may change, and as the
 * user (NULL = there is none) anywhere else. Returns its descriptor, or -1 with why.
 */
int pidfile_open(const char *path, const char *user, char *why, size_t why_size);

/* 0, or -1 with errno. */
int pidfile_write(int fd);

/*
 * Removes it if it is still the one that was opened, or empties it where we may not remove it any more, and
 * closes the descriptor.
 */
void pidfile_remove(const char *path, int fd);

#endif
