/* An existing file is opened without O_CREAT: see fs.protected_regular in proc_sys_fs(5). */
#include "core/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/path.h"
#include "core/privilege.h"
#include "core/trust.h"

#define FLAGS (O_WRONLY | O_APPEND | O_CLOEXEC | O_NOCTTY | O_NONBLOCK)

static int open_or_make(int directory, const char *name, int flags, int make, bool *made)
{
	int fd = openat(directory, name, FLAGS | flags);

	*made = false;
	if (fd == -1 && errno == ENOENT) {
		fd = openat(directory, name, FLAGS | flags | O_CREAT | make, 0640);
		*made = fd != -1;
	}
	return fd;
}

/* With what to do about it, for an errno of open(2). */
static int fail_open(struct error *error)
{
	const char *hint = "";

	if (errno == ENXIO)
		hint = " (a FIFO that nobody reads, or a socket)";
	else if (errno == EROFS)
		hint = " (under systemd, the unit must permit it with ReadWritePaths=)";
	else if (errno == EACCES && geteuid() != 0 && privilege_was_root())
		hint = " (echod is no longer root, its user must be able to open the file)";
	return error_code(error, errno, "%s%s", strerror(errno), hint);
}

/* Whether root or the user owns the open file, and no hard link of another file is meant. */
static bool is_own_file(int fd, uid_t user)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_nlink == 1 &&
	       (st.st_uid == 0 || st.st_uid == user);
}

static int open_as_root(
    struct logfile *file, const char *path, const char *user, struct error *error)
{
	struct trust trust;
	uid_t uid = 0;
	gid_t gid = 0;
	bool made;

	if (user != NULL && privilege_ids(user, &uid, &gid, error) == -1)
		return -1;
	if (trust_walk(path, &trust) == -1) {
		if (errno != ELOOP || *trust.doubt == '\0')
			return fail_open(error);
		return error_code(error, ELOOP,
		    "its path has a symbolic link that other users could have created, because "
		    "they can write to %s: root does not follow it",
		    trust.doubt);
	}
	file->directory = trust.directory;
	snprintf(file->name, sizeof(file->name), "%s", trust.name);
	file->fd = open_or_make(trust.directory, trust.name, trust.follow, O_EXCL, &made);
	if (file->fd == -1 && errno == ELOOP)
		error_code(error, ELOOP,
		    "root does not follow a symbolic link that another user could have created");
	else if (file->fd == -1)
		fail_open(error);
	else if (trust.follow != 0 && !made && !is_own_file(file->fd, uid))
		error_code(error, EPERM,
		    "users other than root can write to its directory, and it is not a regular "
		    "file of root with a single hard link");
	else if (made && uid != 0 && fchown(file->fd, uid, gid) == -1)
		error_errno(error, "fchown");
	else
		return 0;
	logfile_close(file);
	errno = error->code;
	return -1;
}

int logfile_open(struct logfile *file, const char *path, const char *user, struct error *error)
{
	int result = -1;
	char *directory;
	bool made;

	*file = (struct logfile){ .fd = -1, .directory = -1 };
	if (privilege_lend(user, error) == -1)
		return -1;
	errno = EACCES; /* without a user, root opens it below */
	if (geteuid() != 0) {
		file->fd = open_or_make(AT_FDCWD, path, 0, 0, &made);
		result = file->fd == -1 ? fail_open(error) : 0;
	}
	if (result == 0) {
		if ((directory = path_directory(path)) != NULL)
			file->directory = open(directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
		free(directory);
		snprintf(file->name, sizeof(file->name), "%s", strrchr(path, '/') + 1);
	}
	privilege_return();
	if (result == -1 && errno == EACCES && geteuid() == 0)
		result = open_as_root(file, path, user, error);
	return result;
}

int logfile_reopen(struct logfile *file, const char *path, struct error *error)
{
	struct stat ours, there;
	struct logfile fresh;
	bool made;

	/* Only a regular file is ever rotated. */
	if (fstat(file->fd, &ours) == -1 || !S_ISREG(ours.st_mode) ||
	    (stat(path, &there) == 0 && ours.st_dev == there.st_dev && ours.st_ino == there.st_ino))
		return 0;
	if (logfile_open(&fresh, path, NULL, error) == 0) {
		logfile_close(file);
		*file = fresh;
		return 0;
	}
	if (errno != EACCES || file->directory == -1)
		return -1;
	fresh.fd = open_or_make(file->directory, file->name, O_NOFOLLOW, 0, &made);
	if (fresh.fd == -1)
		return -1;
	close(file->fd);
	file->fd = fresh.fd;
	return 0;
}

int logfile_probe(const char *path)
{
	struct stat st;
	char *directory;
	int result;

	if (stat(path, &st) == 0 && S_ISDIR(st.st_mode)) {
		errno = EISDIR;
		return -1;
	}
	result = faccessat(AT_FDCWD, path, W_OK, AT_EACCESS);
	if (result == 0 || errno != ENOENT)
		return result;
	if ((directory = path_directory(path)) == NULL)
		return -1;
	result = faccessat(AT_FDCWD, directory, W_OK | X_OK, AT_EACCESS);
	free(directory);
	return result;
}

void logfile_close(struct logfile *file)
{
	if (file->fd != -1)
		close(file->fd);
	if (file->directory != -1)
		close(file->directory);
	*file = (struct logfile){ .fd = -1, .directory = -1 };
}
