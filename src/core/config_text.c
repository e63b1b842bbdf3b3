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

#include "core/config.h"
#include "core/error.h"
#include "core/log_escape.h"
#include "core/privilege.h"
#include "core/trust.h"

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

char *text_read(const char *file, bool may_wait, size_t *length, struct error *error)
{
	char *text = NULL;
	struct stat st;
	int fd;

	if (privilege_was_root() && trust_check(file, error) == -1)
		return NULL;
	fd = open(file, O_RDONLY | O_CLOEXEC | O_NOCTTY | (may_wait ? 0 : O_NONBLOCK));
	/* A read from a pipe or a terminal would block the event loop. */
	if (fd != -1 && !may_wait && fstat(fd, &st) == 0 && !S_ISREG(st.st_mode))
		errno = S_ISDIR(st.st_mode) ? EISDIR : EINVAL;
	else if (fd != -1)
		text = read_all(fd, length);
	if (text == NULL)
		error_code(error, errno, "%s",
		    errno == EINVAL   ? "not a regular file"
		    : errno == EAGAIN ? "another process has a lease on it (F_SETLEASE), which "
					"has to end first"
				      : strerror(errno));
	if (fd != -1)
		close(fd);
	return text;
}

const char *text_kept(const struct config *config, const char *file)
{
	size_t i = 0;

	while (i < config->files.count && strcmp(config->files.items[i], file) != 0)
		i++;
	return i < config->files.count ? config->texts.items[i] : NULL;
}

const char *text_keep(
    struct config *config, const char *file, bool may_wait, size_t *length, struct error *error)
{
	const char *kept = text_kept(config, file);
	char *text;

	if (kept != NULL) {
		*length = strlen(kept) - 1;
		return kept;
	}
	if ((text = text_read(file, may_wait, length, error)) == NULL)
		return NULL;
	if (strings_adopt(&config->texts, text) == 0 && strings_add(&config->files, file) == 0)
		return text;
	error_memory(error);
	return NULL;
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
