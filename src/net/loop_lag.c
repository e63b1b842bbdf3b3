/*
 * A timerfd, since libevent's own timers are as coarse as the kernel's tick. Each sample costs a wake-up, a
 * read and a new time to wait for: some microseconds, and nothing on the way of a byte.
 */
#include "net/loop_lag.h"

#include <errno.h>
#include <event2/event.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include "core/clock.h"
#include "net/instance.h"
#include "net/loop.h"

#define SAMPLES 600
#define BUSY_US 100000
#define SECOND_US 1000000
#define CPU_MARKS 61 /* a second from one to the next */

struct cpu_mark {
	int64_t at, used; /* us */
};

struct loop_lag {
	struct loop *loop;
	struct event *event;
	int fd;
	int64_t due;              /* clock_us() */
	uint64_t work;            /* a sum that any work for a client changes, at the last sample */
	int64_t samples[SAMPLES]; /* us of lateness, a ring */
	uint64_t count;           /* since the start */
	int64_t longest;
	struct cpu_mark marks[CPU_MARKS]; /* a ring */
	uint64_t mark_count;
};

static int64_t cpu_used(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return (int64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * SECOND_US +
	       usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
}

static void set_timer(struct loop_lag *lag, int64_t due)
{
	const struct itimerspec when = { .it_value = { .tv_sec = due / SECOND_US,
					     .tv_nsec = due % SECOND_US * 1000 } };

	lag->due = due;
	timerfd_settime(lag->fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void mark_cpu(struct loop_lag *lag, int64_t now)
{
	const struct cpu_mark *last = &lag->marks[(lag->mark_count - 1) % CPU_MARKS];

	if (lag->mark_count > 0 && now - last->at < SECOND_US)
		return;
	lag->marks[lag->mark_count++ % CPU_MARKS] = (struct cpu_mark){ now, cpu_used() };
}

static void loop_lag_sample_cb(evutil_socket_t fd, short events, void *arg)
{
	struct loop_lag *lag = arg;
	int64_t now = clock_us(), late = now - lag->due;
	uint64_t expired, work = 0;
	const struct instance *instance;
	bool busy;

	(void)events;
	if (read(fd, &expired, sizeof(expired)) != sizeof(expired))
		return;
	TAILQ_FOREACH (instance, &lag->loop->instances, entry)
		work += instance->counters.accepted + instance->counters.bytes_in +
			instance->counters.bytes_out + instance->counters.datagrams_in;
	busy = work != lag->work;
	lag->samples[lag->count++ % SAMPLES] = late;
	if (late > lag->longest)
		lag->longest = late;
	lag->work = work;
	mark_cpu(lag, now);
	set_timer(lag, now + (busy ? BUSY_US : SECOND_US));
}

struct loop_lag *loop_lag_new(struct loop *loop)
{
	struct loop_lag *lag = calloc(1, sizeof(*lag));

	if (lag == NULL)
		return NULL;
	lag->loop = loop;
	lag->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (lag->fd != -1)
		lag->event =
		    event_new(loop->base, lag->fd, EV_READ | EV_PERSIST, loop_lag_sample_cb, lag);
	if (lag->event == NULL || event_add(lag->event, NULL) == -1) {
		int saved = errno;

		loop_lag_free(lag);
		errno = saved;
		return NULL;
	}
	mark_cpu(lag, clock_us());
	return lag;
}

void loop_lag_start(struct loop_lag *lag)
{
	set_timer(lag, clock_us() + BUSY_US);
}

void loop_lag_free(struct loop_lag *lag)
{
	if (lag == NULL)
		return;
	loop_free_event(lag->event);
	if (lag->fd != -1)
		close(lag->fd);
	free(lag);
}

static int lateness_compare(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double cpu_share(const struct loop_lag *lag)
{
	uint64_t oldest = lag->mark_count > CPU_MARKS ? lag->mark_count - CPU_MARKS : 0;
	const struct cpu_mark *mark = &lag->marks[oldest % CPU_MARKS];
	int64_t elapsed = clock_us() - mark->at;

	return elapsed <= 0 ? 0 : (double)(cpu_used() - mark->used) / (double)elapsed;
}

void loop_lag_read(const struct loop_lag *lag, struct loop_lag_facts *facts)
{
	size_t count = lag->count < SAMPLES ? (size_t)lag->count : SAMPLES;
	int64_t sorted[SAMPLES];

	*facts = (struct loop_lag_facts){ .longest = lag->longest, .cpu_share = cpu_share(lag) };
	if (count == 0)
		return;
	memcpy(sorted, lag->samples, count * sizeof(sorted[0]));
	qsort(sorted, count, sizeof(sorted[0]), lateness_compare);
	facts->median = sorted[count / 2];
	facts->p99 = sorted[count * 99 / 100];
	facts->max = sorted[count - 1];
}
