/* A monitor guards what both threads use; the thread unlocks it while it waits for the disk. */
#include "kv/flusher.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>

#include "core/clock.h"
#include "core/error.h"
#include "core/thread.h"
#include "kv/batch.h"
#include "kv/wal.h"

#define RETRY_MIN_MS 100
#define RETRY_MAX_MS 10000
#define MARK_MS 200 /* after the last batch, when no other one follows */
/* After the first frame of a segment, so that the snapshot is never much older. */
#define SEAL_MS 10000

struct flusher {
	pthread_t thread;
	struct monitor monitor; /* of what follows: */
	struct batch *submitted;
	bool stopping;
	struct flusher_completion completion;
	/* The thread's own: */
	struct wal wal;
	struct batch *kept; /* its append has failed */
	int64_t interval;   /* ms; 0 = clients wait */
	int fd;
	int64_t appended;  /* ms, the last time */
	int64_t seal_due;  /* ms; INT64_MAX = the segment has no frames */
	int64_t retry_due; /* ms, after a failure */
	int64_t pause;     /* ms, behind that */
};

/* Reports to the loop; the monitor is locked. */
static void notify(struct flusher *flusher)
{
	flusher->completion.segment = flusher->wal.segment;
	flusher->completion.bytes = flusher->wal.bytes;
	eventfd_write(flusher->fd, 1);
}

/* --- the thread; it has the monitor locked except while it waits for the disk --- */

static void note_failure(struct flusher *flusher, const struct error *error)
{
	struct flusher_completion *completion = &flusher->completion;

	completion->works = false;
	completion->deletes = flusher->wal.fd != -1;
	completion->failed = true;
	snprintf(completion->failure, sizeof(completion->failure), "%.*s",
	    (int)sizeof(completion->failure) - 1, error->text);
	flusher->pause = RETRY_MIN_MS;
	flusher->retry_due = clock_ms() + flusher->pause;
	notify(flusher);
}

/* The time of the seal counts from the first frame of the segment. */
static void note_append(struct flusher *flusher, uint64_t segment_before)
{
	flusher->appended = clock_ms();
	if (flusher->seal_due == INT64_MAX || flusher->wal.segment != segment_before)
		flusher->seal_due = flusher->appended + SEAL_MS;
}

static void append(struct flusher *flusher)
{
	uint64_t segment = flusher->wal.segment;
	struct error error;
	int result;

	monitor_unlock(&flusher->monitor);
	result = wal_append(&flusher->wal, flusher->submitted, &error);
	note_append(flusher, segment);
	monitor_lock(&flusher->monitor);
	if (result == 0) {
		batch_free(flusher->completion.done); /* at a stop nobody polls */
		flusher->completion.done = flusher->submitted;
		flusher->submitted = NULL;
		notify(flusher);
		return;
	}
	if (flusher->interval > 0)
		flusher->kept = flusher->submitted;
	else
		flusher->completion.undone = flusher->submitted;
	flusher->submitted = NULL;
	note_failure(flusher, &error);
}

/* Tries to make the log work again, and to append what was kept. */
static void recover(struct flusher *flusher)
{
	uint64_t segment = flusher->wal.segment;
	struct error error;
	int result;

	monitor_unlock(&flusher->monitor);
	result = wal_recover(&flusher->wal, &error);
	if (result == 0 && flusher->kept != NULL)
		result = wal_append(&flusher->wal, flusher->kept, &error);
	note_append(flusher, segment);
	monitor_lock(&flusher->monitor);
	flusher->completion.deletes = flusher->wal.fd != -1;
	if (result == -1) {
		flusher->pause =
		    flusher->pause * 2 < RETRY_MAX_MS ? flusher->pause * 2 : RETRY_MAX_MS;
		flusher->retry_due = clock_ms() + flusher->pause;
		return;
	}
	flusher->completion.works = true;
	if (flusher->kept != NULL)
		flusher->completion.done = flusher->kept;
	flusher->kept = NULL;
	notify(flusher);
}

static int64_t mark_due(const struct flusher *flusher)
{
	return flusher->wal.marked ? INT64_MAX : flusher->appended + flusher->interval + MARK_MS;
}

/* When nothing is submitted: the mark, or another segment, whichever is due. */
static void tidy(struct flusher *flusher)
{
	bool requested = flusher->completion.seal_pending;
	bool seals = requested || clock_ms() >= flusher->seal_due;
	struct error error;
	int result;

	monitor_unlock(&flusher->monitor);
	result = seals ? wal_seal(&flusher->wal, &error) : wal_mark(&flusher->wal, &error);
	monitor_lock(&flusher->monitor);
	if (seals)
		flusher->seal_due = result == 0 ? INT64_MAX : clock_ms() + SEAL_MS;
	flusher->completion.seal_pending &= !requested;
	/* No client waits for it, and a log that only lacks space for it can still be appended to. */
	if (result == -1 && (requested || flusher->wal.fd == -1))
		note_failure(flusher, &error);
	else if (result == -1)
		flusher->appended = clock_ms();
	else
		notify(flusher);
}

static bool can_append(const struct flusher *flusher)
{
	return flusher->submitted != NULL &&
	       (flusher->completion.works || flusher->completion.deletes);
}

static void *run(void *arg)
{
	struct flusher *flusher = arg;

	monitor_lock(&flusher->monitor);
	while (!flusher->stopping || can_append(flusher)) {
		bool works = flusher->completion.works;
		int64_t due = flusher->retry_due;

		if (works)
			due = mark_due(flusher) < flusher->seal_due ? mark_due(flusher)
								    : flusher->seal_due;
		if (can_append(flusher))
			append(flusher);
		else if (clock_ms() < due && !(works && flusher->completion.seal_pending))
			monitor_wait(&flusher->monitor, due);
		else if (works)
			tidy(flusher);
		else
			recover(flusher);
	}
	monitor_unlock(&flusher->monitor);
	return NULL;
}

/* --- the loop --- */

static void flusher_free(struct flusher *flusher)
{
	wal_close(&flusher->wal);
	batch_free(flusher->submitted);
	batch_free(flusher->kept);
	batch_free(flusher->completion.done);
	batch_free(flusher->completion.undone);
	monitor_destroy(&flusher->monitor);
	free(flusher);
}

struct flusher *flusher_start(struct wal *wal, int64_t interval, int fd, struct error *error)
{
	struct flusher *flusher = calloc(1, sizeof(*flusher));

	if (flusher == NULL) {
		wal_close(wal);
		error_memory(error);
		return NULL;
	}
	flusher->wal = *wal;
	flusher->interval = interval;
	flusher->fd = fd;
	flusher->pause = RETRY_MIN_MS;
	flusher->appended = clock_ms();
	flusher->seal_due = wal->last != 0 ? flusher->appended + SEAL_MS : INT64_MAX;
	flusher->completion = (struct flusher_completion){
		.works = true, .segment = wal->segment, .bytes = wal->bytes
	};
	monitor_init(&flusher->monitor);
	if (wal->fd == -1) { /* the disk takes no changes from the start */
		flusher->completion.works = false;
		flusher->completion.failed = true;
		snprintf(flusher->completion.failure, sizeof(flusher->completion.failure),
		    "cannot write: %s", strerror(wal->code));
		eventfd_write(fd, 1);
	}
	if (thread_start(&flusher->thread, run, flusher) == 0)
		return flusher;
	error_errno(error, "cannot start a thread");
	flusher_free(flusher);
	return NULL;
}

bool flusher_submit(struct flusher *flusher, struct batch *batch)
{
	const struct flusher_completion *completion = &flusher->completion;
	bool takes;

	monitor_lock(&flusher->monitor);
	/* The loop must poll a failure first, because it undoes this batch, too. */
	takes = flusher->submitted == NULL && !completion->failed &&
		(completion->works ||
		    (completion->deletes && batch->puts == 0 && flusher->kept == NULL));
	if (takes) {
		flusher->submitted = batch;
		monitor_signal(&flusher->monitor);
	}
	monitor_unlock(&flusher->monitor);
	return takes;
}

void flusher_seal(struct flusher *flusher)
{
	monitor_lock(&flusher->monitor);
	flusher->completion.seal_pending = true;
	monitor_signal(&flusher->monitor);
	monitor_unlock(&flusher->monitor);
}

void flusher_poll(struct flusher *flusher, struct flusher_completion *completion)
{
	monitor_lock(&flusher->monitor);
	*completion = flusher->completion;
	flusher->completion.done = flusher->completion.undone = NULL;
	flusher->completion.failed = false;
	monitor_unlock(&flusher->monitor);
}

int flusher_stop(struct flusher *flusher, struct batch *last, uint64_t *segment)
{
	struct batch *batches[] = { NULL, NULL, last };
	struct wal *wal = &flusher->wal;
	struct error error;
	int result = 0;
	bool lost = false;

	monitor_lock(&flusher->monitor);
	flusher->stopping = true;
	monitor_signal(&flusher->monitor);
	monitor_unlock(&flusher->monitor);
	pthread_join(flusher->thread, NULL);
	batches[0] = flusher->kept;
	batches[1] = flusher->submitted;
	flusher->kept = flusher->submitted = NULL;
	if (!flusher->completion.works)
		result = wal_recover(wal, &error);
	for (size_t i = 0; i < sizeof(batches) / sizeof(batches[0]); i++) {
		if (batches[i] != NULL && result == 0)
			result = wal_append(wal, batches[i], &error);
		lost |= batches[i] != NULL && result == -1;
		batch_free(batches[i]);
	}
	/* One of the two, or the next start could mistake damage for a torn write. */
	if (result == 0 && wal_seal(wal, &error) == -1 && wal->fd != -1 && !wal->marked)
		wal_mark(wal, &error);
	*segment = wal->segment;
	flusher_free(flusher);
	return lost ? -1 : 0;
}
