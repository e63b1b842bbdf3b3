/*
 * The file is locked and read; its new content is written to a second file, which is renamed to its name. The process that
 * gets the lock checks that the name still belongs to the file it has locked. A file that does not exist yet cannot be
 * locked: link(2) creates it, and fails if another process was faster.
 */
#include "echoctl/users_file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "core/buffer.h"
#include "core/slice.h"
#include "echoctl/echoctl.h"

#define NEW_MODE 0640
#define PATTERN_MAX 512      /* bytes; kv/command.h has it, too */
#define SIZE_MOST (64 << 20) /* bytes: a million users */
#define PIECE 65536
#define ACL_XATTR "system.posix_acl_access"
#define ACL_MAX 4096

struct users_file {
	char *path; /* without symbolic links */
	int fd;     /* locked; -1 = it does not exist */
	struct stat st;
	struct buffer text;
};

/* --- parts of a line --- */

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

bool users_file_is_name(const char *name)
{
	size_t length = strlen(name);

	return length > 0 && length <= USER_NAME_MAX &&
	       strspn(name, LETTERS "0123456789._-@") == length;
}

/* How many of the bytes are rights; 0 if none, or one of them twice. */
static size_t rights_length(const char *bytes, size_t length)
{
	size_t n = 0;

	for (; n < length && memchr("rwa", bytes[n], 3) != NULL; n++)
		if (memchr(bytes, bytes[n], n) != NULL)
			return 0;
	return n;
}

bool users_file_are_rights(const char *rights)
{
	size_t length = strlen(rights);

	return length > 0 && rights_length(rights, length) == length;
}

/* The daemon cuts white space off the end of a line. */
bool users_file_are_patterns(const char *patterns)
{
	const char *at = patterns;
	size_t length;

	do {
		length = strcspn(at, ",");
		if (length == 0 || length > PATTERN_MAX)
			return false;
		at += length + 1;
	} while (at[-1] == ',');
	return strpbrk(patterns, "\r\n") == NULL && strchr(" \t", at[-2]) == NULL;
}

/* The line without its name, as HASH, RIGHTS and PATTERNS. Values behind a prefix may contain colons. */
static bool split_line(struct slice rest, struct slice *rights, struct slice *patterns)
{
	static const char *const prefixes[] = { "sha256:", "uid:", "cert:" };
	const char *end = rest.bytes + rest.length, *colon = rest.bytes;
	bool has_prefix = false;

	for (size_t i = 0; i < sizeof(prefixes) / sizeof(prefixes[0]) && !has_prefix; i++) {
		size_t length = strlen(prefixes[i]);

		has_prefix = rest.length > length && memcmp(colon, prefixes[i], length) == 0;
		if (has_prefix)
			colon += length;
	}
	while ((colon = memchr(colon, ':', (size_t)(end - colon))) != NULL) {
		size_t n;

		colon++;
		n = rights_length(colon, (size_t)(end - colon));
		if (n > 0 && colon + n < end && colon[n] == ':') {
			*rights = (struct slice){ colon, n };
			*patterns = (struct slice){ colon + n + 1, (size_t)(end - colon) - n - 1 };
			return true;
		}
		if (!has_prefix)
			return false;
	}
	return false;
}

/* --- the file --- */

/* Finds out what the name leads to. */
static int resolve(struct users_file *file, const char *name)
{
	struct stat st;

	if ((file->path = realpath(name, NULL)) != NULL)
		return 0;
	if (errno != ENOENT) {
		complain("cannot open %s: %s", name, strerror(errno));
	} else if (lstat(name, &st) == 0) {
		complain(
		    "%s is a symbolic link to a file that does not exist; create that file, or remove "
		    "the link",
		    name);
	} else if ((file->path = strdup(name)) != NULL) {
		return 0;
	} else {
		complain("out of memory");
	}
	return -1;
}

/* Whether the open file is one of users. */
static int check_kind(struct users_file *file)
{
	if (fstat(file->fd, &file->st) == -1)
		complain("cannot read %s: %s", file->path, strerror(errno));
	else if (!S_ISREG(file->st.st_mode))
		complain("%s is not a regular file", file->path);
	else if (file->st.st_mode & S_IWOTH)
		complain("others can write to %s (mode %04o; chmod o-w %s)", file->path,
		    (unsigned)file->st.st_mode & 07777, file->path);
	else if (file->st.st_size > SIZE_MOST)
		complain("%s is larger than a users file may be (%d bytes)", file->path, SIZE_MOST);
	else
		return 0;
	return -1;
}

static int lock(const struct users_file *file)
{
	if (flock(file->fd, LOCK_EX | LOCK_NB) == 0)
		return 0;
	if (errno == EWOULDBLOCK) {
		complain("waiting for another process that has locked %s", file->path);
		if (flock(file->fd, LOCK_EX) == 0)
			return 0;
	}
	complain("cannot lock %s: %s", file->path, strerror(errno));
	return -1;
}

/* Opens and locks the file that has the name when it is locked. */
static int open_locked(struct users_file *file)
{
	struct stat st;

	for (;;) {
		file->fd = open(file->path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
		if (file->fd == -1 && errno == ENOENT)
			return 0;
		if (file->fd == -1) {
			complain("cannot open %s: %s", file->path, strerror(errno));
			return -1;
		}
		if (check_kind(file) == -1 || lock(file) == -1)
			return -1;
		if (stat(file->path, &st) == 0 && st.st_dev == file->st.st_dev &&
		    st.st_ino == file->st.st_ino)
			return check_kind(file); /* while it waited, the mode may have changed */
		close(file->fd);
	}
}

static int read_text(struct users_file *file)
{
	ssize_t n;

	do {
		char *to = buffer_room(&file->text, PIECE);

		n = to == NULL ? -1 : read(file->fd, to, PIECE);
		if (n == -1 && errno != EINTR) {
			complain("cannot read %s: %s", file->path, strerror(errno));
			return -1;
		}
		file->text.length += n > 0 ? (size_t)n : 0;
	} while (n != 0 && file->text.length <= SIZE_MOST);
	return 0;
}

static int users_file_open(struct users_file *file, const char *name)
{
	*file = (struct users_file){ .fd = -1 };
	if (resolve(file, name) == -1 || open_locked(file) == -1)
		return -1;
	return file->fd == -1 ? 0 : read_text(file);
}

static void users_file_close(struct users_file *file)
{
	if (file->fd != -1)
		close(file->fd); /* and with it the lock */
	free(file->text.bytes);
	free(file->path);
}

/* Finds the line of the name, without its line feed: 1, 0 if there is none, or -1 after a complaint. */
static int find_line(const struct users_file *file, const char *name, struct slice *found)
{
	const char *at = file->text.bytes, *end = at == NULL ? at : at + file->text.length;
	size_t length = strlen(name), number = 0, found_number = 0;

	for (const char *next; at != end; at = next) {
		const char *lf = memchr(at, '\n', (size_t)(end - at));
		struct slice line = { at, (size_t)((lf == NULL ? end : lf) - at) };

		next = lf == NULL ? end : lf + 1;
		number++;
		if (line.length <= length || memcmp(at, name, length) != 0 || at[length] != ':')
			continue;
		if (found_number > 0) {
			complain("%s: lines %zu and %zu are both of \"%s\"; remove one of them",
			    file->path, found_number, number, name);
			return -1;
		}
		found_number = number;
		*found = line;
	}
	return found_number > 0;
}

int users_file_check(const char *path, const char *name)
{
	struct slice line, rights, patterns;
	struct users_file file;
	int result = users_file_open(&file, path);

	if (result == 0)
		result = find_line(&file, name, &line);
	if (result == 1) {
		line.bytes += strlen(name) + 1;
		line.length -= strlen(name) + 1;
		result = split_line(line, &rights, &patterns) ? 0 : -1;
		if (result == -1)
			complain(
			    "%s: the line of \"%s\" is not NAME:HASH:RIGHTS:PATTERNS; correct or remove it",
			    file.path, name);
	}
	users_file_close(&file);
	return result;
}

/* --- the change --- */

/* The line, or its parts, as they are to be. NULL without memory. */
static char *compose_line(
    const struct users_change *change, struct slice rights, struct slice patterns)
{
	char *line;

	if (change->rights != NULL)
		rights = (struct slice){ change->rights, strlen(change->rights) };
	if (change->patterns != NULL)
		patterns = (struct slice){ change->patterns, strlen(change->patterns) };
	return asprintf(&line, "%s:%s:%.*s:%.*s", change->name, change->hash, (int)rights.length,
		   rights.bytes, (int)patterns.length, patterns.bytes) == -1
		   ? NULL
		   : line;
}

/* What the file is to contain. 0, or -1 after a complaint. */
static int compose(const struct users_file *file, struct users_change *change, struct buffer *text)
{
	struct slice rights = { USERS_DEFAULT_RIGHTS, strlen(USERS_DEFAULT_RIGHTS) };
	struct slice patterns = { USERS_DEFAULT_PATTERNS, strlen(USERS_DEFAULT_PATTERNS) };
	const char *begin = file->text.bytes == NULL ? "" : file->text.bytes;
	size_t length = file->text.length, before = length, behind = length;
	struct slice old;
	char *line;
	int found = find_line(file, change->name, &old), failed;

	if (found == -1)
		return -1;
	if (found == 1) {
		size_t name = strlen(change->name) + 1;

		before = (size_t)(old.bytes - begin);
		behind = before + old.length;
		split_line(
		    (struct slice){ old.bytes + name, old.length - name }, &rights, &patterns);
	}
	change->added = found == 0;
	line = compose_line(change, rights, patterns);
	failed = line == NULL || buffer_add(text, begin, before) == -1;
	if (!failed && found == 0 && length > 0 && begin[length - 1] != '\n')
		failed = buffer_add(text, "\n", 1);
	if (!failed)
		failed = buffer_add(text, line, strlen(line)) == -1;
	if (!failed && found == 0)
		failed = buffer_add(text, "\n", 1) == -1;
	if (!failed)
		failed = buffer_add(text, begin + behind, length - behind) == -1;
	free(line);
	if (failed)
		complain("out of memory");
	return failed ? -1 : 0;
}

static int write_all(int fd, const struct buffer *text)
{
	size_t written = 0;
	ssize_t n;

	while (written < text->length) {
		n = write(fd, text->bytes + written, text->length - written);
		if (n == -1 && errno != EINTR)
			return -1;
		written += n > 0 ? (size_t)n : 0;
	}
	return fsync(fd);
}

/* Gives the new file the owner, the mode and the access list of the old one. 0, or -1 after a complaint. */
static int copy_access(const struct users_file *file, int fd)
{
	char acl[ACL_MAX];
	ssize_t length = -1;
	struct stat st;

	if (file->fd == -1) {
		if (fchmod(fd, NEW_MODE) == 0)
			return 0;
	} else if (fstat(fd, &st) == 0) {
		if ((st.st_uid != file->st.st_uid || st.st_gid != file->st.st_gid) &&
		    fchown(fd, file->st.st_uid, file->st.st_gid) == -1) {
			complain(
			    "cannot keep the owner %u and the group %u of %s: %s; run this as root",
			    (unsigned)file->st.st_uid, (unsigned)file->st.st_gid, file->path,
			    strerror(errno));
			return -1;
		}
		length = fgetxattr(file->fd, ACL_XATTR, acl, sizeof(acl));
		if (fchmod(fd, file->st.st_mode & 07777) == 0 &&
		    (length == -1 ? errno != ERANGE
				  : fsetxattr(fd, ACL_XATTR, acl, (size_t)length, 0) == 0))
			return 0;
	}
	complain("cannot set the mode of the new %s: %s", file->path, strerror(errno));
	return -1;
}

/* The directory's entry must get to the disk, too; where directories cannot be synced, nothing can be done. */
static void sync_directory(const char *path)
{
	const char *slash = strrchr(path, '/');
	char *name = slash == NULL ? strdup(".") : strndup(path, (size_t)(slash - path) + 1);
	int fd = name == NULL ? -1 : open(name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd != -1) {
		fsync(fd);
		close(fd);
	}
	free(name);
}

/* Replaces the file. 0, -1 after a complaint, or 1 if there was none and somebody else has created it. */
static int replace(const struct users_file *file, const struct buffer *text)
{
	char *temporary;
	int fd, result = -1;

	if (asprintf(&temporary, "%s.XXXXXX", file->path) == -1) {
		complain("out of memory");
		return -1;
	}
	if ((fd = mkostemp(temporary, O_CLOEXEC)) == -1) {
		complain(
		    "cannot create %s: %s (a new file replaces the old one, so echoctl must be able to "
		    "write to the directory)",
		    temporary, strerror(errno));
		free(temporary);
		return -1;
	}
	if (copy_access(file, fd) == 0) {
		if (write_all(fd, text) == -1)
			complain("cannot write %s: %s (%s is as it was)", temporary,
			    strerror(errno), file->path);
		else if (file->fd != -1 ? rename(temporary, file->path) == 0
					: link(temporary, file->path) == 0)
			result = 0;
		else if (file->fd == -1 && errno == EEXIST)
			result = 1;
		else
			complain("cannot replace %s: %s", file->path, strerror(errno));
	}
	close(fd);
	if (file->fd == -1 || result != 0)
		unlink(temporary);
	if (result == 0)
		sync_directory(file->path);
	free(temporary);
	return result;
}

/* A signal must not leave the temporary file behind: it ends the process later. */
static void block_signals(sigset_t *before)
{
	sigset_t set;

	sigfillset(&set);
	sigprocmask(SIG_BLOCK, &set, before);
	signal(SIGXFSZ, SIG_IGN); /* write(2) fails instead */
}

int users_file_change(const char *path, struct users_change *change)
{
	struct users_file file;
	struct buffer text;
	sigset_t before;
	int result;

	do {
		text = (struct buffer){ 0 };
		result = users_file_open(&file, path);
		change->created = file.fd == -1;
		if (result == 0)
			result = compose(&file, change, &text);
		if (result == 0) {
			block_signals(&before);
			result = replace(&file, &text);
			sigprocmask(SIG_SETMASK, &before, NULL);
		}
		free(text.bytes);
		users_file_close(&file);
	} while (result == 1);
	return result;
}
