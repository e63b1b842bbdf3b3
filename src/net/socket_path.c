/*
 * A path is taken over in three steps: lock it, test whether a process has it open, remove and bind. Without the
 * lock, two processes could both find the path stale, and the second would remove what the first has just bound.
 */
#include "net/socket_path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/path.h"
#include "net/endpoint.h"

#define PATH_SIZE sizeof(((struct sockaddr_un *)NULL)->sun_path)
#define LOCK_SIZE (PATH_SIZE + sizeof("/..lock"))
#define LOCK_TRIES 100 /* each one lost to a process that has just unlocked */

/* Closes the descriptor and keeps errno. Returns -1. */
static int close_failed(int fd)
{
	int saved = errno;

	close(fd);
	errno = saved;
	return -1;
}

static const char *directory_of(const char *path, char *to, size_t size)
{
	const char *slash = strrchr(path, '/');

	snprintf(to, size, "%.*s", slash == path ? 1 : (int)(slash - path), path);
	return to;
}

/* "/run/echod/.echo.sock.lock" */
static const char *lock_name(const char *path, char *to)
{
	const char *name = strrchr(path, '/') + 1;

	snprintf(to, LOCK_SIZE, "%.*s.%s.lock", (int)(name - path), path, name);
	return to;
}

int socket_path_lock(const char *path)
{
	char name[LOCK_SIZE];
	struct stat st;

	lock_name(path, name);
	for (int i = 0; i < LOCK_TRIES; i++) {
		int fd = open(name, O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600);

		if (fd == -1)
			return -1;
		if (fstat(fd, &st) == -1)
			return close_failed(fd);
		/* Only we may open the file: any process that can open it can lock it forever. */
		if (!S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077) != 0) {
			errno = EPERM;
			return close_failed(fd);
		}
		if (flock(fd, LOCK_EX | LOCK_NB) == -1)
			return close_failed(fd);
		/* The previous holder may have removed the file, and a third process may lock a new one. */
		if (path_names(name, fd))
			return fd;
		close(fd);
	}
	errno = EWOULDBLOCK;
	return -1;
}

void socket_path_unlock(const char *path, int lock)
{
	char name[LOCK_SIZE];
	int saved = errno;

	unlink(lock_name(path, name));
	close(lock);
	errno = saved;
}

enum path_state { PATH_FREE, PATH_STALE, PATH_TAKEN };

/*
 * Connects a datagram socket: a stream server refuses it with EPROTOTYPE and a datagram server does not notice it,
 * but only a path that no process has open gives ECONNREFUSED.
 */
static enum path_state probe_path(const struct endpoint *e)
{
	struct stat st;
	int fd, result;

	if (lstat(e->un.sun_path, &st) == -1)
		return errno == ENOENT ? PATH_FREE : PATH_TAKEN;
	if (!S_ISSOCK(st.st_mode)) {
		errno = ENOTSOCK;
		return PATH_TAKEN;
	}
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd == -1)
		return PATH_TAKEN;
	result = connect(fd, &e->any, e->length);
	if (result == -1 && errno == ECONNREFUSED) {
		close(fd);
		return PATH_STALE;
	}
	if (result == 0 || errno != EACCES)
		errno = EADDRINUSE;
	close_failed(fd);
	return PATH_TAKEN;
}

int socket_path_clear(const struct endpoint *endpoint)
{
	switch (probe_path(endpoint)) {
	case PATH_FREE:
		return 0;
	case PATH_STALE:
		return unlink(endpoint->un.sun_path);
	case PATH_TAKEN:
		break;
	}
	return -1;
}

int socket_path_probe(const struct endpoint *endpoint)
{
	char directory[PATH_SIZE];

	if (probe_path(endpoint) == PATH_TAKEN)
		return -1;
	directory_of(endpoint->un.sun_path, directory, sizeof(directory));
	return faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS);
}

static const char *file_type(const char *path)
{
	struct stat st;

	if (lstat(path, &st) == -1)
		return "something";
	return S_ISLNK(st.st_mode)   ? "a symbolic link"
	       : S_ISDIR(st.st_mode) ? "a directory"
	       : S_ISREG(st.st_mode) ? "a regular file"
				     : "a file that is not a socket";
}

const char *socket_path_explain(const char *path, int error, char *to, size_t size)
{
	char directory[PATH_SIZE], lock[LOCK_SIZE];
	const char *reason = strerror(error);
	struct stat st;

	directory_of(path, directory, sizeof(directory));
	switch (error) {
	case EADDRINUSE:
		snprintf(to, size, "%s: a process that runs has it", reason);
		break;
	case EWOULDBLOCK:
		snprintf(to, size, "another process is just binding it");
		break;
	case ENOTSOCK:
		snprintf(to, size,
		    "the path exists and is no socket but %s: remove that, or choose another path",
		    file_type(path));
		break;
	case EPERM:
	case ELOOP:
		snprintf(to, size, "%s: %s is no lock file of ours: remove it", reason,
		    lock_name(path, lock));
		break;
	case ENOENT:
		snprintf(to, size, "%s: create the directory %s", reason, directory);
		break;
	case EACCES:
		if (lstat(path, &st) == 0 && S_ISSOCK(st.st_mode) && st.st_uid != geteuid())
			snprintf(to, size, "%s: a socket of user %d exists there", reason,
			    (int)st.st_uid);
		else
			snprintf(to, size, "%s: user %d may not make files in %s", reason,
			    (int)geteuid(), directory);
		break;
	default:
		snprintf(to, size, "%s", reason);
	}
	return to;
}
