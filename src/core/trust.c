/*
 * Walks the path as the kernel would, name by name, with a descriptor of each directory: the directory that was
 * checked is the one in which the next name is looked up, even if somebody renames it meanwhile.
 */
#include "core/trust.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "core/error.h"
#include "core/path.h"

#define OVERFLOW_ID 65534u
#define LINKS_MAX 40 /* as many as the kernel follows */

/*
 * In a user namespace, users without an ID there, including the machine's root, appear as OVERFLOW_ID. They are
 * trusted, because nobody inside can act as one of them, unless OVERFLOW_ID itself is mapped.
 */
static bool is_ours(const struct stat *st)
{
	unsigned first, outside, count;
	bool is_mapped = false;
	FILE *map;

	if (st->st_uid == 0 || st->st_uid == geteuid())
		return true;
	if (st->st_uid != OVERFLOW_ID || (map = fopen("/proc/self/uid_map", "re")) == NULL)
		return false;
	while (fscanf(map, "%u %u %u", &first, &outside, &count) == 3)
		is_mapped |= OVERFLOW_ID >= first && OVERFLOW_ID - first < count;
	fclose(map);
	return !is_mapped;
}

static bool others_write(int directory, const char *name, const struct stat *st)
{
	char path[PATH_MAX + 64];

	if (!is_ours(st) || st->st_mode & S_IWOTH)
		return true;
	if (!(st->st_mode & S_IWGRP) || st->st_gid != 0)
		return st->st_mode & S_IWGRP;
	/* With an ACL, the group's bits are the mask of what single users and groups may do. */
	snprintf(path, sizeof(path), "/proc/self/fd/%d/%s", directory, name);
	return getxattr(path, "system.posix_acl_access", NULL, 0) > 0;
}

/* In a sticky directory nobody can replace a file of root's, but others could have created the next name. */
static void judge_directory(struct trust *trust, const struct stat *st)
{
	char link[64], name[PATH_MAX];
	ssize_t n;

	if (*trust->doubt != '\0')
		return;
	trust->follow = others_write(trust->directory, ".", st) ? O_NOFOLLOW : 0;
	if (trust->follow == 0 || (is_ours(st) && st->st_mode & S_ISVTX))
		return;
	snprintf(link, sizeof(link), "/proc/self/fd/%d", trust->directory);
	n = readlink(link, name, sizeof(name) - 1);
	name[n > 0 ? n : 0] = '\0';
	snprintf(trust->doubt, sizeof(trust->doubt), "%s (owner %u, group %u, mode %04o)", name,
	    (unsigned)st->st_uid, (unsigned)st->st_gid, (unsigned)st->st_mode & 07777);
}

/* Moves on into the directory of that name. */
static int enter_directory(struct trust *trust, const char *name)
{
	int fd = openat(trust->directory, name,
	    O_PATH | O_DIRECTORY | O_CLOEXEC | (*name == '/' ? 0 : O_NOFOLLOW));
	struct stat st;

	if (fd == -1 || fstat(fd, &st) == -1) {
		int saved = errno;

		if (fd != -1)
			close(fd);
		errno = saved;
		return -1;
	}
	if (trust->directory != AT_FDCWD)
		close(trust->directory);
	trust->directory = fd;
	judge_directory(trust, &st);
	return 0;
}

/* The links of /proc are the kernel's, and can lead to files without a path. */
static bool is_proc(int directory)
{
	struct statfs fs;

	return fstatfs(directory, &fs) == 0 && fs.f_type == PROC_SUPER_MAGIC;
}

/* Puts the link's target in front of the rest of the path. */
static int follow_link(
    struct trust *trust, const char *name, const char *target, const char *more, char *rest)
{
	char joined[PATH_MAX];
	struct stat st;
	int length;

	if (fstatat(trust->directory, name, &st, AT_SYMLINK_NOFOLLOW) == -1)
		return -1;
	if (!is_ours(&st) && *trust->doubt == '\0')
		snprintf(trust->doubt, sizeof(trust->doubt), "the link %s (owner %u)", name,
		    (unsigned)st.st_uid);
	if (*trust->doubt != '\0') {
		errno = ELOOP;
		return -1;
	}
	length = snprintf(joined, sizeof(joined), "%s%s%s", target, *more == '\0' ? "" : "/", more);
	if (length < 0 || (size_t)length >= sizeof(joined)) {
		errno = ENAMETOOLONG;
		return -1;
	}
	memcpy(rest, joined, (size_t)length + 1);
	return *target == '/' ? enter_directory(trust, "/") : 0;
}

static int walk_path(struct trust *trust, char *rest)
{
	char target[PATH_MAX];

	if (enter_directory(trust, "/") == -1)
		return -1;
	for (int links = 0; links <= LINKS_MAX;) {
		char *name = rest + strspn(rest, "/"), *end = name + strcspn(name, "/");
		char *more = end + strspn(end, "/");
		ssize_t n;

		if (is_proc(trust->directory) || *name == '\0') {
			snprintf(
			    trust->name, sizeof(trust->name), "%s", *name == '\0' ? "." : name);
			return 0;
		}
		*end = '\0';
		n = readlinkat(trust->directory, name, target, sizeof(target) - 1);
		if (n == -1 && *more == '\0') {
			snprintf(trust->name, sizeof(trust->name), "%s", name);
			return 0;
		}
		if (n == -1) {
			if (enter_directory(trust, name) == -1)
				return -1;
			memmove(rest, more, strlen(more) + 1);
			continue;
		}
		target[n] = '\0';
		links++;
		if (follow_link(trust, name, target, more, rest) == -1)
			return -1;
	}
	errno = ELOOP;
	return -1;
}

int trust_walk(const char *path, struct trust *trust)
{
	char rest[PATH_MAX];
	int saved;

	trust->directory = AT_FDCWD;
	trust->name[0] = trust->doubt[0] = '\0';
	trust->follow = 0;
	if ((size_t)snprintf(rest, sizeof(rest), "%s", path) >= sizeof(rest))
		errno = ENAMETOOLONG;
	else if (walk_path(trust, rest) == 0)
		return 0;
	saved = errno;
	if (trust->directory != AT_FDCWD)
		close(trust->directory);
	trust->directory = -1;
	errno = saved;
	return -1;
}

int trust_check(const char *path, struct error *error)
{
	char *absolute = path_absolute(path);
	struct trust trust = { .directory = -1 };
	int result = -1;
	struct stat st;

	if (absolute == NULL)
		error_code(error, errno, "%s", strerror(errno));
	else if (trust_walk(absolute, &trust) == -1 && *trust.doubt != '\0' && errno == ELOOP)
		error_code(error, EPERM,
		    "users other than root could have created a symbolic link on its path, after "
		    "%s",
		    trust.doubt);
	else if (trust.directory == -1 || fstatat(trust.directory, trust.name, &st,
					      trust.follow ? AT_SYMLINK_NOFOLLOW : 0) == -1)
		error_code(error, errno, "%s", strerror(errno));
	else if (*trust.doubt != '\0')
		error_code(error, EPERM,
		    "users other than root can write to %s on its path, so root does not trust it "
		    "(chown root and chmod go-w the directory)",
		    trust.doubt);
	/* Any user may own a pipe or device that was passed to us, see is_proc(). */
	else if (others_write(trust.directory, trust.name, &st) && !is_proc(trust.directory))
		error_code(error, EPERM,
		    "users other than root can write to it (owner %u, group %u, mode %04o), so "
		    "root does not trust it (chown root:root %s; chmod go-w %s)",
		    (unsigned)st.st_uid, (unsigned)st.st_gid, (unsigned)st.st_mode & 07777,
		    absolute, absolute);
	else
		result = 0;
	if (trust.directory != -1)
		close(trust.directory);
	free(absolute);
	if (result == -1)
		errno = error->code;
	return result;
}
