/* Paths are text here, but for the part that path_canonical() finds on the disk; it resolves the rest by its dots. */
#include "core/path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *path_absolute(const char *path)
{
	char *directory, *joined;

	if (path[0] == '/')
		return strdup(path);
	if ((directory = getcwd(NULL, 0)) == NULL)
		return NULL;
	joined = path_join(directory, path);
	free(directory);
	return joined;
}

char *path_join(const char *directory, const char *file)
{
	char *path;

	if (*file == '/' || *directory == '\0')
		return strdup(file);
	if (asprintf(&path, "%s%s%s", directory, strcmp(directory, "/") == 0 ? "" : "/", file) ==
	    -1)
		return NULL;
	return path;
}

char *path_canonical(const char *path)
{
	size_t there = strlen(path);
	char *prefix = strdup(path), *real = NULL, *longer;

	while (prefix != NULL && (real = realpath(there == 0 ? "/" : prefix, NULL)) == NULL) {
		if (there == 0)
			break;
		while (there > 0 && prefix[--there] != '/')
			;
		prefix[there] = '\0';
	}
	free(prefix);
	longer = real == NULL ? NULL : realloc(real, strlen(real) + strlen(path + there) + 2);
	if (longer == NULL) {
		free(real);
		return NULL;
	}
	for (path += there; *path != '\0'; path += *path == '/') {
		size_t length = strcspn(path, "/");
		char *slash = strrchr(longer, '/');

		if (length == 2 && memcmp(path, "..", 2) == 0)
			slash[slash == longer] = '\0';
		else if (length > 1 || (length == 1 && *path != '.'))
			sprintf(longer + strlen(longer), "%s%.*s", slash[1] == '\0' ? "" : "/",
			    (int)length, path);
		path += length;
	}
	return longer;
}

char *path_directory(const char *file)
{
	const char *slash = strrchr(file, '/');

	return strndup(file, slash == NULL ? 0 : slash == file ? 1 : (size_t)(slash - file));
}

bool path_names(const char *path, int fd)
{
	struct stat there, opened;

	return lstat(path, &there) == 0 && fstat(fd, &opened) == 0 &&
	       there.st_dev == opened.st_dev && there.st_ino == opened.st_ino;
}
