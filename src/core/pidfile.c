/*
 * The lock, not the number in the file, says whether the daemon runs. Whoever can open a file can lock it, so the
 * file has mode 0600.
 */
#include "core/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/log.h"
#include "core/path.h"
#include "core/privilege.h"
#include "core/trust.h"

#define TRIES 10 /* to lock a file that its owner keeps removing first */

/* Fills trust->doubt if users other than root can replace a directory on the path. 0, or -1 with errno. */
static int check_way(const char *path, struct trust *trust)
{
	char *directory = path_directory(path);
	char *itself = directory == NULL ? NULL : path_join(directory, ".");
	int result = itself == NULL ? -1 : trust_walk(itself, trust);

	if (result == 0)
		close(trust->directory);
	else if (itself != NULL && *trust->doubt != '\0')
		result = 0; /* the walk ended there, and the doubt is the answer */
	free(directory);
	free(itself);
	return result;
}

static int open_and_lock(const char *path, struct error *error)
{
	struct stat ours;
	int fd;

	for (int i = 0; i < TRIES; i++) {
		fd = open(
		    path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0600);
		if (fd == -1)
			return error_code(error, errno, "%s",
			    errno == ELOOP ? "it is a symbolic link" : strerror(errno));
		if (fstat(fd, &ours) == -1 || !S_ISREG(ours.st_mode) || ours.st_nlink > 1 ||
		    ours.st_uid != geteuid()) {
			error_set(error, "it exists, but is not a regular file of echod's user "
					 "with a single hard link: remove it");
			goto fail;
		}
		if (ours.st_mode & 0077) {
			/* We did not create it with this mode, and anybody may hold a lock on it. */
			if (unlink(path) == -1) {
				error_code(error, errno, "%s", strerror(errno));
				goto fail;
			}
		} else if (flock(fd, LOCK_EX | LOCK_NB) == -1) {
			error_set(error, "another echod that runs has it");
			goto fail;
		} else if (path_names(path, fd)) {
			return fd;
		}
		close(fd);
	}
	return error_set(error, "another process keeps removing it");
fail:
	close(fd);
	return -1;
}

int pidfile_open(const char *path, const char *user, struct error *error)
{
	struct trust trust = { 0 };
	int fd;

	if (geteuid() == 0 && check_way(path, &trust) == -1)
		return error_code(error, errno, "%s", strerror(errno));
	if (*trust.doubt == '\0')
		return open_and_lock(path, error);
	if (user == NULL)
		return error_set(error,
		    "root does not write where other users control the path: %s; use a directory "
		    "of root, or set user",
		    trust.doubt);
	if (privilege_lend(user, error) == -1)
		return -1;
	fd = open_and_lock(path, error);
	privilege_return();
	return fd;
}

int pidfile_write(int fd)
{
	return ftruncate(fd, 0) == -1 || dprintf(fd, "%d\n", (int)getpid()) < 0 ? -1 : 0;
}

void pidfile_remove(const char *path, int fd)
{
	if (path_names(path, fd) && unlink(path) == -1 && ftruncate(fd, 0) == -1)
		log_warning("echod: cannot remove %s: %s", path, strerror(errno));
	close(fd);
}
