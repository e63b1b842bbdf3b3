/* The file that the log goes to: who opens it, and which files are not opened. */
#ifndef ECHOD_CORE_LOGFILE_H
#define ECHOD_CORE_LOGFILE_H

#include <limits.h>
#include <stddef.h>

struct logfile {
	int fd;              /* for appending; never waits */
	int directory;       /* O_PATH, of the file; -1 = it could not be had */
	char name[PATH_MAX]; /* in there */
};

/*
 * Opens the file, or makes it with mode 0640. Root opens it as the user, if there is one. Where the user may
 * not, root does so itself and gives the user what it has made; it follows no symbolic link that others can
 * have made, and where they can make files it opens only regular ones of root's or the user's that have no
 * other name. 0, or -1 with errno and why.
 */
int logfile_open(
    struct logfile *file, const char *path, const char *user, char *why, size_t why_size);

/*
 * Opens it again after a rotation, as whoever we are; by its directory if the way there is closed to us.
 * Does nothing if the path still leads to the open file, or that is none that is rotated: a pipe, a terminal.
 * 0, or -1 with errno, why, and the old one.
 */
int logfile_reopen(struct logfile *file, const char *path, char *why, size_t why_size);

/* Whether logfile_open() would work, as far as that can be seen without a trace. 0, or -1 with errno. */
int logfile_probe(const char *path);

void logfile_close(struct logfile *file);

#endif
