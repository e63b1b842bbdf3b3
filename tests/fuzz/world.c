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

/* A world that takes longer than that has a hang, which libFuzzer finds by the wall clock. */
#define PATIENCE_S 20

static int64_t now_ms = BEGINNING_MS;
static int64_t begun_ms; /* wall clock, when the world began; 0 = there is none */

static int64_t wall_clock_ms(void)
{
	struct timespec now;

	syscall(SYS_clock_gettime, CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

struct server *world_begin(const char *config)
{
	struct server *server;

	now_ms = BEGINNING_MS;
	begun_ms = wall_clock_ms();
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
	begun_ms = 0;
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
	int64_t ms = now_ms;

	if (clock == CLOCK_REALTIME && begun_ms != 0 &&
	    wall_clock_ms() - begun_ms < PATIENCE_S * 1000)
		ms += begun_ms - BEGINNING_MS;
	else if (clock != CLOCK_MONOTONIC && clock != CLOCK_MONOTONIC_COARSE)
		return (int)syscall(SYS_clock_gettime, clock, now);
	now->tv_sec = ms / 1000;
	now->tv_nsec = ms % 1000 * 1000000;
	return 0;
}

ssize_t getrandom(void *bytes, size_t length, unsigned flags)
{
	(void)flags;
	memset(bytes, 0x5a, length);
	return (ssize_t)length;
}
