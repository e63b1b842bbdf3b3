/* A program's own clock_gettime and getrandom come before those of the C library, in its libraries too. */
#include "world.h"

#include <string.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "daemon.h"
#include "fuzz.h"

#define BEGINNING_MS 1000000

static int64_t now_ms = BEGINNING_MS;

struct server *world_begin(const char *config)
{
	struct server *server;

	now_ms = BEGINNING_MS;
	server = daemon_start(config);
	require(server != NULL);
	return server;
}

void world_pass(int64_t ms)
{
	now_ms += ms;
}

void world_end(struct server *server)
{
	/* The longest deadline is that of a client that does not read, and then it lingers. */
	for (int i = 0; i < 12; i++) {
		daemon_turn(server);
		world_pass(4000);
	}
	daemon_turn(server);
	daemon_free(server);
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	if (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE)
		return (int)syscall(SYS_clock_gettime, clock, now);
	now->tv_sec = now_ms / 1000;
	now->tv_nsec = now_ms % 1000 * 1000000;
	return 0;
}

ssize_t getrandom(void *bytes, size_t length, unsigned flags)
{
	(void)flags;
	memset(bytes, 0x5a, length);
	return (ssize_t)length;
}
