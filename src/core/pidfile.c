/* The lock, not the number in it, says whether the owner lives. */
#include "core/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

static int fail(int fd)
{
	int saved = errno;

	close(fd);
	errno = saved;
	return -1;
}

int pidfile_write(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);

	if (fd == -1)
		return -1;
	if (flock(fd, LOCK_EX | LOCK_NB) == -1 || ftruncate(fd, 0) == -1 ||
	    dprintf(fd, "%d\n", (int)getpid()) < 0)
		return fail(fd);
	return fd;
}

void pidfile_remove(const char *path, int fd)
{
	struct stat ours, theirs;

	if (fstat(fd, &ours) == 0 && lstat(path, &theirs) == 0 && ours.st_dev == theirs.st_dev &&
	    ours.st_ino == theirs.st_ino)
		unlink(path);
	close(fd);
}
