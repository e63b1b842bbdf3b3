/* The file with our process ID; locked until the daemon ends. */
#ifndef ECHOD_CORE_PIDFILE_H
#define ECHOD_CORE_PIDFILE_H

struct error;

/*
 * Creates and locks the file, before privileges are dropped: as root if only root can write to the directories on
 * its path, otherwise as the user (NULL = none is configured: refused). Returns the descriptor, or -1 with an error.
 */
int pidfile_open(const char *path, const char *user, struct error *error);

/* 0, or -1 with errno. */
int pidfile_write(int fd);

/*
 * Removes the file if it is still the one that was opened, or empties it if we are no longer allowed to remove it.
 * Closes the descriptor.
 */
void pidfile_remove(const char *path, int fd);

#endif
