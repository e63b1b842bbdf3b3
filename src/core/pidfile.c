/* The lock, not the number in it, says whether the owner lives. */
#include "core/pidfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log.h"

int pidfile_open(const char *path)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);

	if (fd == -1 || flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd;
	int saved = errno;

	close(fd);
	errno = saved;
	return -1;
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
