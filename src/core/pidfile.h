/* The file that tells others our process id; locked as long as we live. */
#ifndef ECHOD_CORE_PIDFILE_H
#define ECHOD_CORE_PIDFILE_H

/*
 * Creates, locks and writes it. Returns its descriptor for pidfile_remove(), or -1 with errno
 * (EWOULDBLOCK: a process that lives has it).
 */
int pidfile_write(const char *path);

/* Removes it if it is still the one that was written, and closes the descriptor. */
void pidfile_remove(const char *path, int fd);

#endif
