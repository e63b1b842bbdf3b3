/*
 * The lock is an flock(2) on a file that only its owner may open: nobody else can hold it, and it ends with the
 * process.
 */
#include "kv/directory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/log.h"
#include "core/trust.h"

#define LOCK_FILE "echod.lock"

void directory_path(const struct directory *directory, const char *name, char path[FILENAME_MAX])
{
	if (snprintf(path, FILENAME_MAX, "%s/%s", directory->path, name) >= FILENAME_MAX)
		path[0] = '\0';
}

static int sync_path(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), result, saved;

	if (fd == -1)
		return -1;
	result = fsync(fd);
	saved = errno;
	close(fd);
	errno = saved;
	return result;
}

int directory_sync(const struct directory *directory)
{
	return sync_path(directory->path);
}

/* The name of the directory itself. A user who may not read the parent has not created the directory in it either. */
static int sync_parent(const struct directory *directory)
{
	char path[FILENAME_MAX];

	directory_path(directory, "..", path);
	return sync_path(path) == -1 && errno != EACCES ? -1 : 0;
}

static int refuse_locked(const struct directory *directory, int fd, struct error *error)
{
	char owner[32] = "";
	ssize_t n = pread(fd, owner, sizeof(owner) - 1, 0);

	owner[n > 0 ? strcspn(owner, "\n") : 0] = '\0';
	return error_set(error, "storage %s is in use by another echod%s%s", directory->path,
	    *owner == '\0' ? "" : ", process ", owner);
}

/* Whether the path still leads to the open file. */
static bool is_same_file(int fd, const char *path)
{
	struct stat held, found;

	return fd != -1 && fstat(fd, &held) == 0 && stat(path, &found) == 0 &&
	       held.st_dev == found.st_dev && held.st_ino == found.st_ino;
}

static int refuse_replaced(struct error *error)
{
	return error_code(error, ESTALE,
	    "the directory was replaced while echod was running: put the old one back, or restart "
	    "echod to use the new one");
}

/* `flags`: O_CREAT, or 0: the file must be there. The descriptor of the locked file, or -1 with the error. */
static int lock(const struct directory *directory, const char *path, int flags, struct error *error)
{
	int fd = open(path, O_RDWR | flags | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd == -1 && errno == EROFS)
		fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd == -1)
		return error_errno(error, "cannot open %s", path);
	/* The process that has held the lock may have removed the file. */
	if (flock(fd, LOCK_EX | LOCK_NB) == -1 || !is_same_file(fd, path)) {
		refuse_locked(directory, fd, error);
		close(fd);
		return -1;
	}
	return fd;
}

/* For the message above, in another process. */
static void write_owner(const struct directory *directory)
{
	char owner[32];
	int length = snprintf(owner, sizeof(owner), "%ld\n", (long)getpid());

	if (pwrite(directory->lock, owner, (size_t)length, 0) != length ||
	    ftruncate(directory->lock, length) == -1)
		log_debug(
		    "kv: cannot write %s/" LOCK_FILE ": %s", directory->path, strerror(errno));
}

/* Root refuses a directory in which other users could replace the files by links. */
int directory_open(struct directory *directory, const char *path, bool create, struct error *error)
{
	char file[FILENAME_MAX];
	bool is_new;

	*directory = (struct directory){
		.path = strdup(path), .lock = -1, .found = -1, .mutex = PTHREAD_MUTEX_INITIALIZER
	};
	if (directory->path == NULL)
		return error_memory(error);
	directory->made = create && mkdir(path, 0700) == 0;
	if (create && !directory->made && errno != EEXIST)
		return error_errno(error, "cannot create storage %s", path);
	if (geteuid() == 0 && trust_check(path, error) == -1)
		return error_prefix(error, "cannot use storage %s: ", path);
	directory_path(directory, LOCK_FILE, file);
	is_new = create && access(file, F_OK) == -1 && errno == ENOENT;
	directory->lock = lock(directory, file, create ? O_CREAT : 0, error);
	if (directory->lock == -1)
		return !create && error->code == ENOENT ? 0 : -1;
	directory->made_lock = is_new;
	write_owner(directory);
	if (create && sync_parent(directory) == -1)
		return error_errno(error, "cannot create storage %s", path);
	return 0;
}

void directory_remove_made(struct directory *directory)
{
	char path[FILENAME_MAX];

	directory_path(directory, LOCK_FILE, path);
	if (directory->made_lock)
		unlink(path);
	if (directory->made)
		rmdir(directory->path);
}

/* The path without links, also if its last name is missing. 0, or -1 with errno. */
static int resolve(const char *path, char real[PATH_MAX])
{
	char *parent, *end;
	int result;

	if (realpath(path, real) != NULL)
		return 0;
	if (errno != ENOENT || (parent = strdup(path)) == NULL)
		return -1;
	end = parent + strlen(parent);
	while (end > parent && end[-1] == '/')
		end--;
	while (end > parent && end[-1] != '/')
		end--;
	*end = '\0';
	result = realpath(parent, real) == NULL ? -1 : 0;
	free(parent);
	return result;
}

bool directory_contains(const struct directory *directory, const char *path)
{
	char real[PATH_MAX];
	struct stat own, other;

	if (stat(directory->path, &own) == -1 || resolve(path, real) == -1)
		return false;
	while (*real != '\0') {
		if (stat(real, &other) == 0 && own.st_dev == other.st_dev &&
		    own.st_ino == other.st_ino)
			return true;
		*strrchr(real, '/') = '\0';
	}
	return false;
}

int directory_check(struct directory *directory, struct error *error)
{
	char path[FILENAME_MAX];
	bool is_same;
	int code = 0;

	directory_path(directory, LOCK_FILE, path);
	pthread_mutex_lock(&directory->mutex);
	is_same = is_same_file(directory->lock, path);
	pthread_mutex_unlock(&directory->mutex);
	if (is_same)
		return 0;
	if (access(path, F_OK) == -1)
		code = errno;
	return code == 0 ? refuse_replaced(error)
			 : error_code(error, ESTALE, "cannot open %s: %s", path, strerror(code));
}

/* A volume that was mounted anew has another device number, or the same files; a copy has neither. */
static bool is_copy(int lock, int found)
{
	struct stat held, other;

	return fstat(lock, &held) == 0 && fstat(found, &other) == 0 &&
	       held.st_dev == other.st_dev && held.st_ino != other.st_ino;
}

int directory_reopen(struct directory *directory, struct error *error)
{
	char path[FILENAME_MAX];

	directory_path(directory, LOCK_FILE, path);
	if (is_same_file(directory->lock, path))
		return 0;
	directory->found = lock(directory, path, 0, error);
	if (directory->found == -1)
		return -1;
	if (!is_copy(directory->lock, directory->found))
		return 0;
	directory_adopt(directory, false);
	return refuse_replaced(error);
}

void directory_adopt(struct directory *directory, bool is_ours)
{
	if (directory->found == -1)
		return;
	if (is_ours) {
		pthread_mutex_lock(&directory->mutex);
		close(directory->lock);
		directory->lock = directory->found;
		pthread_mutex_unlock(&directory->mutex);
		write_owner(directory);
	} else {
		close(directory->found);
	}
	directory->found = -1;
}

void directory_close(struct directory *directory)
{
	if (directory->lock != -1)
		close(directory->lock);
	free(directory->path);
	pthread_mutex_destroy(&directory->mutex);
	*directory = (struct directory){ .lock = -1, .found = -1 };
}
