/* Threads beside the loop, which block all signals, and a monitor. Times are those of clock_ms(). */
#ifndef ECHOD_CORE_THREAD_H
#define ECHOD_CORE_THREAD_H

#include <pthread.h>
#include <stdint.h>

/* 0, or -1 with errno. */
int thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg);

/* A mutex, and a condition variable for changes of the data that the mutex guards. */
struct monitor {
	pthread_mutex_t mutex;
	pthread_cond_t change;
};

void monitor_init(struct monitor *monitor);
void monitor_destroy(struct monitor *monitor);
void monitor_lock(struct monitor *monitor);
void monitor_unlock(struct monitor *monitor);
void monitor_signal(struct monitor *monitor);
/* Waits for monitor_signal(), or until that time, INT64_MAX = never; it is locked before and afterwards. */
void monitor_wait(struct monitor *monitor, int64_t until_ms);

#endif
