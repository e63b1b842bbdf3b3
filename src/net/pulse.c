/*
 * A timerfd, since libevent's own timers are as coarse as the kernel's tick. Each sample costs a wake-up, a
 * read and a new time to wait for: some microseconds, and nothing on the way of a byte.
 */
#include "net/pulse.h"

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

struct pulse {
	struct loop *loop;
	struct event *event;
	int fd;
	int64_t due;            /* clock_us() */
	uint64_t work;          /* what the loop had done at the last sample */
	int64_t lates[SAMPLES]; /* us, a ring */
	uint64_t count;         /* samples since the start */
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

/* A number that changes when anything was done for anybody. */
static uint64_t work_of(const struct loop *loop)
{
	const struct instance *instance;
	uint64_t work = 0;

	TAILQ_FOREACH (instance, &loop->instances, entry)
		work += instance->counters.accepted + instance->counters.bytes_in +
			instance->counters.bytes_out + instance->counters.datagrams_in;
	return work;
}

static void set_timer(struct pulse *pulse, int64_t due)
{
	const struct itimerspec when = { .it_value = { .tv_sec = due / SECOND_US,
					     .tv_nsec = due % SECOND_US * 1000 } };

	pulse->due = due;
	timerfd_settime(pulse->fd, TFD_TIMER_ABSTIME, &when, NULL);
}

static void mark_cpu(struct pulse *pulse, int64_t now)
{
	const struct cpu_mark *last = &pulse->marks[(pulse->mark_count - 1) % CPU_MARKS];

	if (pulse->mark_count > 0 && now - last->at < SECOND_US)
		return;
	pulse->marks[pulse->mark_count++ % CPU_MARKS] = (struct cpu_mark){ now, cpu_used() };
}

static void beat_cb(evutil_socket_t fd, short events, void *arg)
{
	struct pulse *pulse = arg;
	int64_t now = clock_us(), late = now - pulse->due;
	uint64_t expired, work = work_of(pulse->loop);
	bool busy = work != pulse->work;

	(void)events;
	if (read(fd, &expired, sizeof(expired)) != sizeof(expired))
		return;
	pulse->lates[pulse->count++ % SAMPLES] = late;
	if (late > pulse->longest)
		pulse->longest = late;
	pulse->work = work;
	mark_cpu(pulse, now);
	set_timer(pulse, now + (busy ? BUSY_US : SECOND_US));
}

struct pulse *pulse_new(struct loop *loop)
{
	struct pulse *pulse = calloc(1, sizeof(*pulse));

	if (pulse == NULL)
		return NULL;
	pulse->loop = loop;
	pulse->fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (pulse->fd != -1)
		pulse->event =
		    event_new(loop->base, pulse->fd, EV_READ | EV_PERSIST, beat_cb, pulse);
	if (pulse->event == NULL || event_add(pulse->event, NULL) == -1) {
		int saved = errno;

		pulse_free(pulse);
		errno = saved;
		return NULL;
	}
	mark_cpu(pulse, clock_us());
	return pulse;
}

void pulse_start(struct pulse *pulse)
{
	set_timer(pulse, clock_us() + BUSY_US);
}

void pulse_free(struct pulse *pulse)
{
	if (pulse == NULL)
		return;
	if (pulse->event != NULL)
		event_free(pulse->event);
	if (pulse->fd != -1)
		close(pulse->fd);
	free(pulse);
}

static int lateness_compare(const void *a, const void *b)
{
	const int64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

static double cpu_share(const struct pulse *pulse)
{
	uint64_t oldest = pulse->mark_count > CPU_MARKS ? pulse->mark_count - CPU_MARKS : 0;
	const struct cpu_mark *mark = &pulse->marks[oldest % CPU_MARKS];
	int64_t elapsed = clock_us() - mark->at;

	return elapsed <= 0 ? 0 : (double)(cpu_used() - mark->used) / (double)elapsed;
}

void pulse_read(const struct pulse *pulse, struct pulse_facts *facts)
{
	size_t count = pulse->count < SAMPLES ? (size_t)pulse->count : SAMPLES;
	int64_t sorted[SAMPLES];

	*facts = (struct pulse_facts){ .longest = pulse->longest, .cpu_share = cpu_share(pulse) };
	if (count == 0)
		return;
	memcpy(sorted, pulse->lates, count * sizeof(sorted[0]));
	qsort(sorted, count, sizeof(sorted[0]), lateness_compare);
	facts->median = sorted[count / 2];
	facts->p99 = sorted[count * 99 / 100];
	facts->max = sorted[count - 1];
}
