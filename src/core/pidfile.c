/*
 * The lock, not the number in it, says whether the owner lives. Whoever may open a file can lock it, so that this
 * one is for its owner alone.
 */
#include "core/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"
#include "core/path.h"
#include "core/privilege.h"
#include "core/trust.h"

#define TRIES 10 /* of a file that its owner removes before we have locked it */

/* Whether others than root can exchange a directory on the way to the file: trust->doubt. 0, or -1 with errno. */
static int look_at_way(const char *path, struct trust *trust)
{
	char *directory = path_directory(path);
	char *itself = directory == NULL ? NULL : path_join(directory, ".");
	int result = itself == NULL ? -1 : trust_walk(itself, trust);

	if (result == 0)
		close(trust->directory);
	else if (itself != NULL && *trust->doubt != '\0')
		result = 0; /* and it ends there */
	free(directory);
	free(itself);
	return result;
}

static int refuse(int fd, char *why, size_t why_size, const char *text)
{
	snprintf(why, why_size, "%s", text);
	if (fd != -1)
		close(fd);
	return -1;
}

static int open_and_lock(const char *path, char *why, size_t why_size)
{
	struct stat ours, there;
	int fd;

	for (int i = 0; i < TRIES; i++) {
		fd = open(
		    path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK, 0600);
		if (fd == -1 || fstat(fd, &ours) == -1)
			return refuse(fd, why, why_size,
			    errno == ELOOP ? "it is a symbolic link" : strerror(errno));
		if (!S_ISREG(ours.st_mode) || ours.st_nlink > 1 || ours.st_uid != geteuid())
			return refuse(fd, why, why_size,
			    "it is there, but not as a file of echod's own user with one name: remove it");
		if (ours.st_mode & 0077) {
			/* Not made by us as it is, and anybody may have locked it. */
			if (unlink(path) == -1)
				return refuse(fd, why, why_size, strerror(errno));
		} else if (flock(fd, LOCK_EX | LOCK_NB) == -1) {
			return refuse(fd, why, why_size, "another echod that runs has it");
		} else if (lstat(path, &there) == 0 && there.st_dev == ours.st_dev &&
			   there.st_ino == ours.st_ino) {
			return fd;
		}
		close(fd);
	}
	return refuse(-1, why, why_size, "it is removed again and again");
}

int pidfile_open(const char *path, const char *user, char *why, size_t why_size)
{
	struct trust trust = { 0 };
	int fd;

	if (geteuid() == 0 && look_at_way(path, &trust) == -1)
		return refuse(-1, why, why_size, strerror(errno));
	if (*trust.doubt == '\0')
		return open_and_lock(path, why, why_size);
	if (user == NULL) {
		snprintf(why, why_size,
		    "root does not write where other users can lead it: %s; choose a directory of root's, "
		    "or set user",
		    trust.doubt);
		return -1;
	}
	if (privilege_lend(user, why, why_size) == -1)
		return -1;
	fd = open_and_lock(path, why, why_size);
	privilege_return();
	return fd;
}

int pidfile_write(int fd)
{
	return ftruncate(fd, 0) == -1 || dprintf(fd, "%d\n", (int)getpid()) < 0 ? -1 : 0;
}

void pidfile_remove(const char *path, int fd)
{
	struct stat ours, theirs;

	if (fstat(fd, &ours) == 0 && lstat(path, &theirs) == 0 && ours.st_dev == theirs.st_dev &&
	    ours.st_ino == theirs.st_ino && unlink(path) == -1 && ftruncate(fd, 0) == -1)
		log_warning("echod: cannot remove %s: %s", path, strerror(errno));
	close(fd);
}
