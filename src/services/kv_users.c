/* The file is bounded in size, must be a regular one that other users cannot change, and is read without blocking. */
#include "services/kv_users.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/strings.h"
#include "core/trust.h"
#include "kv/users.h"

#define FILE_MAX (16 << 20) /* bytes; a hundred thousand users */

static int check_file(const struct stat *st, const char *path, struct error *error)
{
	if (!S_ISREG(st->st_mode))
		return error_set(error, "%s is not a regular file", path);
	if (st->st_size > FILE_MAX)
		return error_set(
		    error, "%s is larger than a file of users may be (%d bytes)", path, FILE_MAX);
	return 0;
}

/* The bytes, allocated, or NULL with an error. */
static char *read_bytes(int fd, const char *path, size_t *length, struct error *error)
{
	char *bytes = NULL;
	struct stat st;
	ssize_t n;

	*length = 0;
	if (fstat(fd, &st) == -1) {
		error_errno(error, "cannot read %s", path);
		return NULL;
	}
	if (check_file(&st, path, error) == -1)
		return NULL;
	if ((bytes = malloc((size_t)st.st_size + 1)) == NULL) {
		error_memory(error);
		return NULL;
	}
	while (*length <= (size_t)st.st_size &&
	       (n = read(fd, bytes + *length, (size_t)st.st_size + 1 - *length)) != 0) {
		if (n == -1 && errno == EINTR)
			continue;
		if (n == -1) {
			error_errno(error, "cannot read %s", path);
			free(bytes);
			return NULL;
		}
		*length += (size_t)n;
	}
	if (*length <= (size_t)st.st_size)
		return bytes;
	error_set(error, "%s grows while it is read", path);
	free(bytes);
	return NULL;
}

/* The same of the file at the path, which other users must not be able to change. */
static char *read_file(const char *path, size_t *length, struct error *error)
{
	char *bytes;
	int fd;

	if (*path != '/') {
		error_set(error, "expected an absolute path, got \"%s\"", path);
		return NULL;
	}
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd == -1) {
		error_errno(error, "cannot open %s", path);
		return NULL;
	}
	if (trust_check(path, error) == -1) {
		error_prefix(error, "%s: ", path);
		bytes = NULL;
	} else {
		bytes = read_bytes(fd, path, length, error);
	}
	close(fd);
	return bytes;
}

struct users *kv_users_read(const char *path, struct strings *errors, int *code)
{
	struct users *users = NULL;
	struct error error;
	size_t length;
	char *bytes = read_file(path, &length, &error);

	*code = 0;
	if (bytes == NULL) {
		*code = error.code;
		strings_add(errors, error.text);
		return NULL;
	}
	users = users_new(path, bytes, length, errors);
	explicit_bzero(bytes, length);
	free(bytes);
	return users;
}
