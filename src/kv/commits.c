#include "kv/commits.h"

#include <stddef.h>

#include "core/error.h"

struct commits *commits_open(const struct engine_settings *settings, struct keyspace *keyspace,
    const struct engine_host *host, struct error *error)
{
	(void)settings;
	(void)keyspace;
	(void)host;
	error_set(error, "storage is not there yet");
	return NULL;
}

int commits_fd(const struct commits *commits)
{
	(void)commits;
	return -1;
}

uint64_t commits_schedule(struct commits *commits)
{
	(void)commits;
	return 0;
}

void commits_work(struct commits *commits)
{
	(void)commits;
}

void commits_stats(const struct commits *commits, struct engine_stats *stats)
{
	(void)commits;
	(void)stats;
}

void commits_free(struct commits *commits)
{
	(void)commits;
}
