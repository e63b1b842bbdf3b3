/*
 * A pipe is as good as a file: it is read to its end, once.
 * libconfig 1.5 does not check its allocations. So text_parse() allocates more than libconfig will need, and frees
 * that at once: when memory is short, a config is refused, and nothing crashes.
 */
#include "core/config_text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/log_escape.h"

#define FILE_SIZE_MAX ((size_t)16 << 20)
#define PARSER_SIZE (64 * 1024) /* of libconfig's buffers and stacks */
#define BYTE_SIZE 64            /* of the tree, for a byte of text; `a=1;` makes the most */

static char *read_all(int fd, size_t *length)
{
	char *text = NULL, *larger;
	size_t capacity = 0;
	ssize_t n;

	for (*length = 0;; *length += (size_t)n) {
		if (capacity - *length < 4096) {
			capacity = capacity == 0 ? 8192 : capacity * 2;
			if (capacity > FILE_SIZE_MAX) {
				errno = EFBIG;
				break;
			}
			if ((larger = realloc(text, capacity)) == NULL)
				break;
			text = larger;
		}
		n = read(fd, text + *length, capacity - *length - 2);
		if (n <= 0) {
			if (n == -1)
				break;
			/* libconfig wants a line end even behind a last comment. */
			memcpy(text + *length, "\n", 2);
			return text;
		}
	}
	free(text);
	return NULL;
}

/* A read from a pipe or a terminal would block the event loop. */
static bool is_regular(int fd)
{
	struct stat st;

	if (fstat(fd, &st) == -1)
		return false;
	errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
	return S_ISREG(st.st_mode);
}

char *text_read(const char *file, bool may_wait, size_t *length)
{
	int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | (may_wait ? 0 : O_NONBLOCK)), saved;
	char *text = NULL;

	if (fd == -1)
		return NULL;
	if (may_wait || is_regular(fd))
		text = read_all(fd, length);
	saved = errno;
	close(fd);
	errno = saved;
	return text;
}

const char *text_describe(int error)
{
	switch (error) {
	case EINVAL:
		return "not a regular file";
	case EAGAIN:
		return "another process has a lease on it (F_SETLEASE), which has to end first";
	default:
		return strerror(error);
	}
}

char *text_line(const char *text, int line, char *to, size_t size)
{
	size_t length;

	for (; line > 1 && *text != '\0'; line--) {
		text += strcspn(text, "\n");
		text += *text == '\n';
	}
	text += strspn(text, " \t");
	length = strcspn(text, "\r\n");
	while (length > 0 && (text[length - 1] == ' ' || text[length - 1] == '\t'))
		length--;
	return log_escape(to, size, text, length);
}

int text_parse(config_t *tree, const char *text, const char *include_directory)
{
	/* volatile: or the compiler leaves both calls out */
	void *volatile memory = malloc(PARSER_SIZE + BYTE_SIZE * strlen(text));

	memset(tree, 0, sizeof(*tree)); /* what config_destroy() takes for an empty one */
	free(memory);
	if (memory == NULL)
		return -1;
	config_init(tree);
	if (*include_directory != '\0')
		config_set_include_dir(tree, include_directory);
	if (config_read_string(tree, text) == CONFIG_TRUE)
		return 0;
	errno = EINVAL;
	return -1;
}
