/* A program may be started without them, and the next file that it opens would be taken for one. */
#include "core/standard.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* There always is a root directory, and reading from or writing to an O_PATH descriptor fails. */
int standard_open_nowhere(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	return fd != -1 ? fd : open("/", O_PATH | O_CLOEXEC);
}

void standard_occupy(void)
{
	int fd;

	while ((fd = standard_open_nowhere()) != -1 && fd <= STDERR_FILENO)
		continue;
	if (fd != -1)
		close(fd);
}

int standard_flush(void)
{
	return fflush(stdout) == 0 && !ferror(stdout) ? 0 : -1;
}
