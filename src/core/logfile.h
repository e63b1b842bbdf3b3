/* The file of the log: opens it as the user or as root, and refuses files that other users could have planted. */
#ifndef ECHOD_CORE_LOGFILE_H
#define ECHOD_CORE_LOGFILE_H

#include <limits.h>

struct error;

struct logfile {
	int fd;              /* for appending; non-blocking */
	int directory;       /* of the file, O_PATH; -1 = it could not be opened */
	char name[PATH_MAX]; /* in that directory */
};

/*
 * Opens the file, or creates it with mode 0640. Root opens it as the user, if one is given. If the user is not
 * permitted to, root opens it itself, and makes the user the owner of a file that it creates. Root follows no
 * symbolic link that other users could have created, and where they can create files, it opens only regular files
 * of root or the user that have no second link. 0, or -1 with an error and errno.
 */
int logfile_open(struct logfile *file, const char *path, const char *user, struct error *error);

/*
 * Opens the file again after a rotation, with our present rights; through the descriptor of its directory if we
 * cannot reach the path. Does nothing if the path still leads to the open file, or if that is not a regular file. 0,
 * or -1 with an error and errno, and the old file stays open.
 */
int logfile_reopen(struct logfile *file, const char *path, struct error *error);

/* Whether logfile_open() would work, as far as can be found out without changing anything. 0, or -1 with errno. */
int logfile_probe(const char *path);

void logfile_close(struct logfile *file);

#endif
