/*
 * Clocks that jump: the time of day anywhere, back and forth, from one look to the next, and the time since
 * the start ahead by up to an hour. Clients may be ended for being idle; see session.h for what must hold.
 */
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <time.h>

#include "../fuzz/fuzz.h"
#include "session.h"

static atomic_bool jumping;
static atomic_uint looks;
static atomic_long ahead_ms;

/* As far as the kernel lets it be set. */
static time_t some_time(unsigned look)
{
	static const time_t times[] = { 0, 1, 951827696, 1792483199, INT32_MAX,
		1 + (time_t)INT32_MAX, 4107542399, 9223372036 };

	return times[look % (sizeof(times) / sizeof(times[0]))];
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	static __typeof__(&clock_gettime) next;
	unsigned look = ++looks;
	int result;

	if (next == NULL)
		next = (__typeof__(&clock_gettime))(uintptr_t)dlsym(RTLD_NEXT, "clock_gettime");
	result = next(clock, now);
	if (clock == CLOCK_REALTIME && jumping)
		now->tv_sec = some_time(look * 7 / 3);
	if (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE) {
		if (jumping && look % 97 == 0)
			ahead_ms += look * 7919L % 3600000;
		now->tv_sec += ahead_ms / 1000; /* it never goes back */
	}
	return result;
}

time_t time(time_t *to)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	if (to != NULL)
		*to = now.tv_sec;
	return now.tv_sec;
}

static void nothing(void)
{
}

static void set(bool on)
{
	jumping = on;
}

static const struct trouble trouble = { set, nothing, nothing };

int main(void)
{
	session_prepare();
	for (int i = 0; i < 10; i++)
		require(session_play(&trouble));
	session_clean_up();
	printf("1..1\nok 1 - clocks jump, 10 sessions, %ld hours\n", ahead_ms / 3600000);
	return 0;
}
