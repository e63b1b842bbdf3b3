/*
 * Making a store, whole or not at all: LMDB writes the first pages of a file in place, and one that a power
 * cut leaves half made is like one that is damaged. So it is made under another name. And names are only
 * safe once their directory is.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kv/journal_parts.h"

#define NEW_FILE "new.mdb"

int journal_sync_directory(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), code = 0;

	if (fd == -1)
		return errno;
	if (fsync(fd) == -1)
		code = errno;
	close(fd);
	return code;
}

/* Who may not read the parent has not made the directory in it either. */
static int sync_parent(const char *directory)
{
	char *path;
	int code;

	if (asprintf(&path, "%s/..", directory) == -1)
		return ENOMEM;
	code = journal_sync_directory(path);
	free(path);
	return code == EACCES ? 0 : code;
}

static int make_file(const char *directory, const char *path)
{
	struct journal made = { .lock_fd = -1 };
	int code;

	if (asprintf(&made.directory, "%s/" NEW_FILE, directory) == -1)
		return ENOMEM;
	unlink(made.directory);
	code = journal_open_env(&made, MDB_NOSUBDIR | MDB_NOLOCK);
	journal_close_env(&made);
	if (code == 0 && rename(made.directory, path) == -1)
		code = errno;
	free(made.directory);
	return code;
}

int journal_make(const char *directory)
{
	struct stat file;
	char *path;
	int code = 0;

	if (asprintf(&path, "%s/data.mdb", directory) == -1)
		return ENOMEM;
	if (stat(path, &file) == -1 || file.st_size == 0)
		code = make_file(directory, path);
	free(path);
	if (code == 0)
		code = journal_sync_directory(directory);
	return code == 0 ? sync_parent(directory) : code;
}
