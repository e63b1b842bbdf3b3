/* The file that tells others our process id; locked as long as we live. */
#ifndef ECHOD_CORE_PIDFILE_H
#define ECHOD_CORE_PIDFILE_H

/*
 * Creates and locks it, as whoever we are before privileges are dropped. Returns its descriptor, or -1 with
 * errno (EWOULDBLOCK: a process that lives has it).
 */
int pidfile_open(const char *path);

/* 0, or -1 with errno. */
int pidfile_write(int fd);

/*
 * Removes it if it is still the one that was opened, or empties it where we may not remove it any more, and
 * closes the descriptor.
 */
void pidfile_remove(const char *path, int fd);

#endif
