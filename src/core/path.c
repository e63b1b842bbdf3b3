/* Paths that outlive a change of the directory. */
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
	if (asprintf(&joined, "%s/%s", directory, path) == -1)
		joined = NULL;
	free(directory);
	return joined;
}
