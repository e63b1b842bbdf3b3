/* Standard input, output and error. */
#include "core/standard.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

void standard_occupy(void)
{
	int fd;

	while ((fd = open("/dev/null", O_RDWR)) != -1 && fd <= STDERR_FILENO)
		continue;
	if (fd != -1)
		close(fd);
}

int standard_flush(void)
{
	return fflush(stdout) == 0 && !ferror(stdout) ? 0 : -1;
}
