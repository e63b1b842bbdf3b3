/* None of the calls below can fail with arguments that are valid. */
#include "core/thread.h"

#include <errno.h>
#include <signal.h>
#include <time.h>

int thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(thread, NULL, run, arg);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	errno = error;
	return error == 0 ? 0 : -1;
}

void monitor_init(struct monitor *monitor)
{
	pthread_condattr_t monotonic;

	pthread_mutex_init(&monitor->mutex, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&monitor->change, &monotonic);
	pthread_condattr_destroy(&monotonic);
}

void monitor_destroy(struct monitor *monitor)
{
	pthread_cond_destroy(&monitor->change);
	pthread_mutex_destroy(&monitor->mutex);
}

void monitor_lock(struct monitor *monitor)
{
	pthread_mutex_lock(&monitor->mutex);
}

void monitor_unlock(struct monitor *monitor)
{
	pthread_mutex_unlock(&monitor->mutex);
}

void monitor_signal(struct monitor *monitor)
{
	pthread_cond_broadcast(&monitor->change);
}

void monitor_wait(struct monitor *monitor, int64_t until_ms)
{
	struct timespec time = { .tv_sec = until_ms / 1000, .tv_nsec = until_ms % 1000 * 1000000 };

	if (until_ms == INT64_MAX)
		pthread_cond_wait(&monitor->change, &monitor->mutex);
	else
		pthread_cond_timedwait(&monitor->change, &monitor->mutex, &time);
}
