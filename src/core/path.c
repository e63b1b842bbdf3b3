/* Paths, as text. */
#include "core/path.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
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

char *path_directory(const char *file)
{
	const char *slash = strrchr(file, '/');

	return strndup(file, slash == NULL ? 0 : slash == file ? 1 : (size_t)(slash - file));
}
