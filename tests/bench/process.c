/* /proc/PID/task: a directory per thread, so that a server cannot hide work in a second one. */
#include "process.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The file's text in `to`; 0, or -1. */
static int read_file(const char *path, char *to, size_t size)
{
	FILE *file = fopen(path, "re");
	size_t length;

	if (file == NULL)
		return -1;
	length = fread(to, 1, size - 1, file);
	to[length] = '\0';
	fclose(file);
	return length > 0 ? 0 : -1;
}

/* schedstat(5): nanoseconds on a CPU, first of three numbers. */
static int64_t thread_schedstat(const char *thread)
{
	char path[400], text[128];

	snprintf(path, sizeof(path), "%s/schedstat", thread);
	return read_file(path, text, sizeof(text)) == -1 ? -1 : strtoll(text, NULL, 10);
}

/* proc(5), stat: utime and stime are fields 14 and 15; the name, field 2, may hold anything. */
static int64_t thread_ticks(const char *thread)
{
	char path[400], text[1024], *at;
	unsigned long user, system;

	snprintf(path, sizeof(path), "%s/stat", thread);
	if (read_file(path, text, sizeof(text)) == -1 || (at = strrchr(text, ')')) == NULL ||
	    sscanf(at, ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &system) !=
		2)
		return -1;
	return (int64_t)(user + system) * (1000000000 / sysconf(_SC_CLK_TCK));
}

int64_t process_cpu_ns(pid_t pid)
{
	char threads[64], thread[64 + 256];
	const struct dirent *entry;
	int64_t sum = 0;
	DIR *directory;

	snprintf(threads, sizeof(threads), "/proc/%d/task", (int)pid);
	if ((directory = opendir(threads)) == NULL)
		return -1;
	while ((entry = readdir(directory)) != NULL) {
		int64_t used;

		if (entry->d_name[0] == '.')
			continue;
		snprintf(thread, sizeof(thread), "%s/%s", threads, entry->d_name);
		used = thread_schedstat(thread);
		if (used <= 0)
			used = thread_ticks(thread);
		if (used > 0)
			sum += used;
	}
	closedir(directory);
	return sum;
}
