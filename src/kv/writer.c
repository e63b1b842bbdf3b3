/*
 * One mutex guards what both threads see; the disk is never waited for under it. The medium is the
 * thread's alone.
 */
#include "kv/writer.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>

#include "kv/batch.h"
#include "kv/medium.h"

#define RETRY_MIN_MS 100
#define RETRY_MAX_MS 10000

/* Folding begins when there is some to fold and clients are not busy, by this much, or when it must. */
#define FOLD_IDLE_MS 50
#define FOLD_BYTES ((uint64_t)64 << 10)
#define FOLD_BUSY_BYTES ((uint64_t)64 << 20)  /* a quarter of the time goes to folding, */
#define FOLD_FULL_BYTES ((uint64_t)512 << 20) /* or as much as it takes */

struct writer {
	pthread_t thread;
	pthread_mutex_t mutex;
	pthread_cond_t change; /* in what follows: */
	struct batch *given;
	bool parked, awake, broken, stopping;
	struct writer_news news;
	atomic_bool called; /* fd has been made readable */
	/* The thread's own: */
	struct medium *medium;
	struct batch *kept; /* its commit has failed */
	int64_t interval;   /* ms; 0 = each turn of the loop has its batch */
	int fd;
	int64_t last_commit, last_fold; /* ms, when they ended */
	int64_t fold_took;              /* ms */
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static uint64_t backlog(const struct writer *writer)
{
	const struct medium_ops *ops = writer->medium->ops;

	return ops->backlog == NULL ? 0 : ops->backlog(writer->medium);
}

/* Tells the loop, or whoever waits for the end. The mutex is held. */
static void call(struct writer *writer)
{
	pthread_cond_broadcast(&writer->change);
	writer->news.log_bytes = backlog(writer);
	eventfd_write(writer->fd, 1);
	writer->called = true; /* from now on there is something to read */
}

/* Waits until something changes, or that time has come; the mutex is held. */
static void wait_until(struct writer *writer, int64_t ms)
{
	struct timespec time = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	if (ms == INT64_MAX)
		pthread_cond_wait(&writer->change, &writer->mutex);
	else
		pthread_cond_timedwait(&writer->change, &writer->mutex, &time);
}

/* --- the thread; it holds the mutex but while it is at the disk --- */

/* A batch that waits, or has just failed, will not be committed soon. */
static void note_failure(struct writer *writer)
{
	writer->broken = true;
	if (writer->interval > 0)
		writer->kept = writer->given;
	else
		writer->news.undone = writer->given;
	writer->given = NULL;
	writer->news.failed = true;
	writer->news.recovered = false;
	snprintf(writer->news.why, sizeof(writer->news.why), "%s", writer->medium->failure);
	call(writer);
}

static void commit(struct writer *writer)
{
	int result;

	pthread_mutex_unlock(&writer->mutex);
	result = writer->medium->ops->commit(writer->medium, writer->given);
	writer->last_commit = now_ms();
	pthread_mutex_lock(&writer->mutex);
	if (result == -1) {
		note_failure(writer);
		return;
	}
	batch_free(writer->news.done); /* at a stop nobody asks for it */
	writer->news.done = writer->given;
	writer->given = NULL;
	call(writer);
}

/* When the next slice is due, ms. */
static int64_t fold_due(const struct writer *writer)
{
	uint64_t bytes = backlog(writer);

	if (bytes < FOLD_BYTES)
		return INT64_MAX;
	if (bytes >= FOLD_FULL_BYTES)
		return 0;
	if (bytes >= FOLD_BUSY_BYTES)
		return writer->last_fold + 3 * writer->fold_took;
	return writer->last_commit + writer->interval + FOLD_IDLE_MS;
}

static void fold(struct writer *writer)
{
	int64_t began = now_ms();
	int result;

	pthread_mutex_unlock(&writer->mutex);
	result = writer->medium->ops->fold(writer->medium);
	writer->last_fold = now_ms();
	writer->fold_took = writer->last_fold - began + 1;
	pthread_mutex_lock(&writer->mutex);
	if (result == -1)
		note_failure(writer);
}

/* Gets the medium back, and with it what was kept. 0, or -1. Without the mutex. */
static int try_to_recover(struct writer *writer)
{
	if (writer->medium->ops->recover(writer->medium) == -1)
		return -1;
	return writer->kept == NULL ? 0 : writer->medium->ops->commit(writer->medium, writer->kept);
}

static void note_recovery(struct writer *writer)
{
	writer->broken = false;
	writer->news.recovered = true;
	if (writer->kept != NULL)
		writer->news.done = writer->kept;
	writer->kept = NULL;
	call(writer);
}

/* Tries until it has recovered; at a stop, one last time. */
static bool recover(struct writer *writer)
{
	int64_t pause = RETRY_MIN_MS;
	bool last;
	int result;

	do {
		int64_t due = now_ms() + pause;

		while (!writer->stopping && now_ms() < due)
			wait_until(writer, due);
		last = writer->stopping;
		pthread_mutex_unlock(&writer->mutex);
		result = try_to_recover(writer);
		pthread_mutex_lock(&writer->mutex);
		pause = pause * 2 < RETRY_MAX_MS ? pause * 2 : RETRY_MAX_MS;
	} while (result == -1 && !last);
	if (result == 0)
		note_recovery(writer);
	return result == 0;
}

/*
 * Until the loop runs: the stores that are opened meanwhile have a child process look at their files, and a
 * fork while another thread allocates is one that ASan's allocator does not survive.
 */
static void park(struct writer *writer)
{
	writer->parked = true;
	pthread_cond_broadcast(&writer->change);
	while (!writer->awake && !writer->stopping)
		wait_until(writer, INT64_MAX);
}

static void *run(void *arg)
{
	struct writer *writer = arg;

	pthread_mutex_lock(&writer->mutex);
	park(writer);
	while (!writer->stopping || writer->given != NULL) {
		if (writer->broken && !recover(writer))
			break;
		if (writer->given != NULL)
			commit(writer);
		else if (now_ms() >= fold_due(writer))
			fold(writer);
		else if (!writer->stopping)
			wait_until(writer, fold_due(writer));
	}
	pthread_mutex_unlock(&writer->mutex);
	return NULL;
}

/* --- the loop --- */

/* Signals are the loop's. */
static int start_thread(struct writer *writer)
{
	sigset_t all, before;
	int error;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_create(&writer->thread, NULL, run, writer);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return error;
}

static void writer_free(struct writer *writer)
{
	writer->medium->ops->close(writer->medium);
	batch_free(writer->given);
	batch_free(writer->kept);
	batch_free(writer->news.done);
	batch_free(writer->news.undone);
	pthread_cond_destroy(&writer->change);
	pthread_mutex_destroy(&writer->mutex);
	free(writer);
}

struct writer *writer_start(struct medium *medium, int64_t interval, int fd)
{
	struct writer *writer = calloc(1, sizeof(*writer));
	pthread_condattr_t monotonic;
	int error;

	if (writer == NULL) {
		medium->ops->close(medium);
		errno = ENOMEM;
		return NULL;
	}
	writer->medium = medium;
	writer->interval = interval;
	writer->fd = fd;
	pthread_mutex_init(&writer->mutex, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&writer->change, &monotonic);
	pthread_condattr_destroy(&monotonic);
	if ((error = start_thread(writer)) != 0) {
		writer_free(writer);
		errno = error;
		return NULL;
	}
	pthread_mutex_lock(&writer->mutex);
	while (!writer->parked)
		wait_until(writer, INT64_MAX);
	pthread_mutex_unlock(&writer->mutex);
	return writer;
}

void writer_wake(struct writer *writer)
{
	pthread_mutex_lock(&writer->mutex);
	writer->awake = true;
	pthread_cond_broadcast(&writer->change);
	pthread_mutex_unlock(&writer->mutex);
}

void writer_finish(struct writer *writer)
{
	pthread_mutex_lock(&writer->mutex);
	while (writer->given != NULL)
		wait_until(writer, INT64_MAX);
	pthread_mutex_unlock(&writer->mutex);
}

int writer_stop(struct writer *writer, struct batch *last)
{
	bool lost;

	writer_finish(writer);
	pthread_mutex_lock(&writer->mutex);
	writer->given = last;
	writer->stopping = true;
	pthread_cond_broadcast(&writer->change);
	pthread_mutex_unlock(&writer->mutex);
	pthread_join(writer->thread, NULL);
	lost = writer->broken && (writer->given != NULL || writer->kept != NULL);
	writer_free(writer);
	return lost ? -1 : 0;
}

bool writer_give(struct writer *writer, struct batch *batch)
{
	bool takes;

	pthread_mutex_lock(&writer->mutex);
	/* Its giver has to know of a failure first, for it concerns this batch, too. */
	takes = writer->given == NULL && !writer->broken && !writer->news.failed;
	if (takes)
		writer->given = batch;
	pthread_cond_broadcast(&writer->change);
	pthread_mutex_unlock(&writer->mutex);
	return takes;
}

bool writer_has_called(struct writer *writer)
{
	return atomic_exchange(&writer->called, false);
}

void writer_ask(struct writer *writer, struct writer_news *news)
{
	pthread_mutex_lock(&writer->mutex);
	*news = writer->news;
	writer->news = (struct writer_news){ .log_bytes = news->log_bytes };
	pthread_mutex_unlock(&writer->mutex);
}
