/* One segment after the other: its changes are sorted, and the newest of each key applied. */
#include "kv/checkpoint.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/error.h"
#include "core/thread.h"
#include "kv/backup.h"
#include "kv/change.h"
#include "kv/snapshot.h"
#include "kv/wal.h"
#include "kv/wal_reader.h"

#define NICE 10
#define SLICE 65536 /* keys of a transaction: bounds SQLite's journal */
#define RETRY_MIN_MS 100
#define RETRY_MAX_MS 10000
#define FINISH_MS 2000  /* at a stop; a disk may be slow */
#define INTERRUPT_MS 20 /* between two tries: SQLite forgets one that comes before it has begun */

struct checkpoint {
	pthread_t thread;
	struct monitor monitor; /* of what follows: */
	uint64_t sealed;
	char *backup;           /* its directory; NULL = none is wanted */
	uint64_t backup_behind; /* the segment that has to be in it */
	uint64_t backup_keys;   /* of the one that has ended, */
	struct error backup_error;
	bool backup_failed;
	struct checkpoint_status status;
	bool ended;     /* the thread has */
	bool finishing; /* to be stopped when nothing is left, or a try fails */
	bool checking;  /* the snapshot, which stays open meanwhile */
	atomic_bool stopping;
	/* The thread's own: */
	struct directory *directory;
	struct store_id id;
	int fd;
	struct snapshot *snapshot; /* NULL = not open */
	bool checked;              /* its pages, in this run */
	uint64_t applied;
	uint64_t bytes; /* moved */
};

/* The changes of a segment, in their order. */
struct changes {
	struct change *items;
	size_t count, capacity;
};

static int add_change(void *arg, const struct change *change)
{
	struct changes *changes = arg;
	size_t capacity = changes->capacity == 0 ? 1024 : 2 * changes->capacity;
	struct change *items;

	if (changes->count == changes->capacity) {
		items = reallocarray(changes->items, capacity, sizeof(*items));
		if (items == NULL)
			return -1;
		changes->items = items;
		changes->capacity = capacity;
	}
	changes->items[changes->count++] = *change;
	return 0;
}

/* By key; of one key the newest, which is behind the others in memory, comes first. */
static int compare(const void *a, const void *b)
{
	const struct change *one = *(const struct change *const *)a;
	const struct change *other = *(const struct change *const *)b;
	size_t length = one->key.length < other->key.length ? one->key.length : other->key.length;
	int order = memcmp(one->key.bytes, other->key.bytes, length);

	if (order == 0 && one->key.length != other->key.length)
		order = one->key.length < other->key.length ? -1 : 1;
	if (order == 0)
		order = one > other ? -1 : 1;
	return order;
}

/* Sorts the changes, without those that a newer one replaces. The array is the caller's; NULL when out of memory. */
static const struct change **sort(const struct changes *changes, size_t *count)
{
	const struct change **sorted = reallocarray(NULL, changes->count + 1, sizeof(*sorted));

	*count = 0;
	if (sorted == NULL)
		return NULL;
	for (size_t i = 0; i < changes->count; i++)
		sorted[i] = &changes->items[i];
	qsort(sorted, changes->count, sizeof(*sorted), compare);
	for (size_t i = 0; i < changes->count; i++)
		if (*count == 0 || !slice_is_equal(sorted[*count - 1]->key, sorted[i]->key))
			sorted[(*count)++] = sorted[i];
	return sorted;
}

/* The segment is in the snapshot once the last slice is; until then a replay reads it again. 0, or -1 with the error. */
static int apply(struct checkpoint *checkpoint, uint64_t segment, const struct change **sorted,
    size_t count, struct error *error)
{
	size_t at = 0;

	do {
		size_t slice = count - at < SLICE ? count - at : SLICE;
		bool last = at + slice == count;

		if (snapshot_apply(checkpoint->snapshot, sorted + at, slice,
			last ? segment : checkpoint->applied, error) == -1)
			return -1;
		at += slice;
	} while (at < count);
	return 0;
}

static int move_segment(struct checkpoint *checkpoint, uint64_t segment, struct error *error)
{
	uint64_t length = 0;
	const struct change **sorted = NULL;
	struct changes changes = { .count = 0 };
	unsigned char *bytes = NULL;
	size_t count;
	int result;

	result = wal_read(checkpoint->directory, &checkpoint->id, segment, &bytes, &length,
	    add_change, &changes, error);
	if (result == 0 && (sorted = sort(&changes, &count)) == NULL)
		result = error_memory(error);
	if (result == 0)
		result = apply(checkpoint, segment, sorted, count, error);
	if (result == 0)
		checkpoint->bytes += length;
	free(sorted);
	free(changes.items);
	free(bytes);
	return result;
}

/* A check is one step for SQLite, which looks at nothing but interruptions meanwhile. 0, or -1 with the error. */
static int check(struct checkpoint *checkpoint, struct error *error)
{
	int result;

	monitor_lock(&checkpoint->monitor);
	checkpoint->checking = true;
	monitor_unlock(&checkpoint->monitor);
	result = snapshot_check(checkpoint->snapshot, error);
	monitor_lock(&checkpoint->monitor);
	checkpoint->checking = false;
	monitor_unlock(&checkpoint->monitor);
	return result;
}

/*
 * Opens the snapshot, on the same files as before, and once in a run verifies pages that the load has not read, for
 * writing into damaged ones would spread the damage. 0, or -1 with the error.
 */
static int open_snapshot(struct checkpoint *checkpoint, struct error *error)
{
	const struct snapshot_meta *meta;

	if (directory_check(checkpoint->directory, error) == -1)
		return -1;
	if (checkpoint->snapshot == NULL) {
		checkpoint->snapshot =
		    snapshot_open(checkpoint->directory, &checkpoint->stopping, error);
		if (checkpoint->snapshot == NULL)
			return -1;
		meta = snapshot_meta(checkpoint->snapshot);
		/* A transaction that was reported as failed may be there all the same. */
		if (memcmp(&meta->id, &checkpoint->id, sizeof(meta->id)) != 0 ||
		    meta->segment < checkpoint->applied || meta->segment > checkpoint->applied + 1)
			return error_set(error, "%s has the files of another store, or old ones",
			    checkpoint->directory->path);
	}
	if (!checkpoint->checked)
		checkpoint->checked = check(checkpoint, error) == 0;
	return checkpoint->checked ? 0 : -1;
}

/* Moves one segment. 0, or -1 with the error. */
static int step(struct checkpoint *checkpoint, struct error *error)
{
	uint64_t segment = checkpoint->applied + 1;

	if (open_snapshot(checkpoint, error) == 0 &&
	    move_segment(checkpoint, segment, error) == 0) {
		checkpoint->applied = segment;
		if (directory_check(checkpoint->directory, error) == 0)
			wal_recycle(checkpoint->directory, segment);
		return 0;
	}
	if (error->code != EBUSY) { /* a connection that has failed is not used again */
		snapshot_close(checkpoint->snapshot);
		checkpoint->snapshot = NULL;
	}
	return -1;
}

/* --- the thread --- */

/* The monitor is locked. The result is kept until the loop asks for it. */
static void end_backup(struct checkpoint *checkpoint, uint64_t keys, const struct error *error)
{
	free(checkpoint->backup);
	checkpoint->backup = NULL;
	checkpoint->backup_failed = error != NULL;
	if (error != NULL)
		checkpoint->backup_error = *error;
	else
		checkpoint->backup_keys = keys;
	checkpoint->status.copied = true;
}

/* The monitor is locked. A backup does not wait until a disk works again, for that may be never. */
static void note_result(struct checkpoint *checkpoint, const struct error *error, int64_t begun)
{
	struct checkpoint_status *status = &checkpoint->status;

	if (error == NULL || error->code != EBUSY)
		status->busy = 0;
	else
		status->busy = clock_ms() - begun;
	status->works = error == NULL || error->code == EBUSY;
	status->full = error != NULL && error->code == ENOSPC;
	status->moved = error != NULL && error->code == ESTALE;
	if (!status->works) {
		status->failed = true;
		snprintf(status->failure, sizeof(status->failure), "%.*s",
		    (int)sizeof(status->failure) - 1, error->text);
		if (checkpoint->backup != NULL)
			end_backup(checkpoint, 0, error);
	}
	status->bytes = checkpoint->bytes;
	eventfd_write(checkpoint->fd, 1);
}

/* The monitor is locked. */
static void back_up(struct checkpoint *checkpoint)
{
	struct error error;
	uint64_t keys = 0;
	int result;

	monitor_unlock(&checkpoint->monitor);
	result = open_snapshot(checkpoint, &error);
	if (result == 0)
		result = backup_make(
		    checkpoint->snapshot, checkpoint->directory, checkpoint->backup, &keys, &error);
	monitor_lock(&checkpoint->monitor);
	end_backup(checkpoint, keys, result == -1 ? &error : NULL);
	eventfd_write(checkpoint->fd, 1);
}

static void *run(void *arg)
{
	struct checkpoint *checkpoint = arg;
	int64_t pause = RETRY_MIN_MS, begun = clock_ms(), retry;
	struct error error;
	int result;

	/* On Linux, this thread alone; the shipped unit does not allow it. */
	if (setpriority(PRIO_PROCESS, (id_t)gettid(), NICE) == -1)
		errno = 0; /* it works all the same */
	monitor_lock(&checkpoint->monitor);
	while (!checkpoint->stopping) {
		if (checkpoint->backup != NULL &&
		    checkpoint->applied >= checkpoint->backup_behind) {
			back_up(checkpoint);
			continue;
		}
		if (checkpoint->applied >= checkpoint->sealed) {
			if (checkpoint->finishing)
				break;
			monitor_wait(&checkpoint->monitor, INT64_MAX);
			begun = clock_ms();
			continue;
		}
		monitor_unlock(&checkpoint->monitor);
		result = step(checkpoint, &error);
		monitor_lock(&checkpoint->monitor);
		if (checkpoint->stopping || (checkpoint->finishing && result == -1))
			break;
		note_result(checkpoint, result == 0 ? NULL : &error, begun);
		if (result == 0) {
			pause = RETRY_MIN_MS;
			begun = clock_ms();
			continue;
		}
		/* A retry does not repair damage. */
		retry = error.code == EBADMSG ? INT64_MAX : clock_ms() + pause;
		while (!checkpoint->finishing && clock_ms() < retry)
			monitor_wait(&checkpoint->monitor, retry);
		pause = pause * 2 < RETRY_MAX_MS ? pause * 2 : RETRY_MAX_MS;
	}
	checkpoint->ended = true;
	monitor_signal(&checkpoint->monitor);
	monitor_unlock(&checkpoint->monitor);
	return NULL;
}

/* --- the loop --- */

static void checkpoint_free(struct checkpoint *checkpoint)
{
	snapshot_close(checkpoint->snapshot);
	free(checkpoint->backup);
	monitor_destroy(&checkpoint->monitor);
	free(checkpoint);
}

struct checkpoint *checkpoint_start(struct directory *directory, const struct store_id *id,
    uint64_t applied, int fd, struct error *error)
{
	struct checkpoint *checkpoint = calloc(1, sizeof(*checkpoint));

	if (checkpoint == NULL) {
		error_memory(error);
		return NULL;
	}
	checkpoint->directory = directory;
	checkpoint->id = *id;
	checkpoint->fd = fd;
	checkpoint->applied = checkpoint->sealed = applied;
	checkpoint->status = (struct checkpoint_status){ .works = true };
	monitor_init(&checkpoint->monitor);
	if (thread_start(&checkpoint->thread, run, checkpoint) == 0)
		return checkpoint;
	error_errno(error, "cannot start a thread");
	checkpoint_free(checkpoint);
	return NULL;
}

void checkpoint_submit(struct checkpoint *checkpoint, uint64_t sealed)
{
	monitor_lock(&checkpoint->monitor);
	if (sealed > checkpoint->sealed) {
		checkpoint->sealed = sealed;
		monitor_signal(&checkpoint->monitor);
	}
	monitor_unlock(&checkpoint->monitor);
}

int checkpoint_backup(
    struct checkpoint *checkpoint, const char *path, uint64_t segment, struct error *error)
{
	char *copy = strdup(path);
	int result = 0;

	if (copy == NULL)
		return error_memory(error);
	monitor_lock(&checkpoint->monitor);
	if (checkpoint->status.works) {
		checkpoint->backup = copy;
		checkpoint->backup_behind = segment;
		monitor_signal(&checkpoint->monitor);
	} else {
		result = error_set(error, "%s", checkpoint->status.failure);
		free(copy);
	}
	monitor_unlock(&checkpoint->monitor);
	return result;
}

int checkpoint_backup_result(struct checkpoint *checkpoint, uint64_t *keys, struct error *error)
{
	int result = 0;

	monitor_lock(&checkpoint->monitor);
	*keys = checkpoint->backup_keys;
	if (checkpoint->backup_failed) {
		*error = checkpoint->backup_error;
		result = -1;
	}
	monitor_unlock(&checkpoint->monitor);
	return result;
}

void checkpoint_poll(struct checkpoint *checkpoint, struct checkpoint_status *status)
{
	monitor_lock(&checkpoint->monitor);
	*status = checkpoint->status;
	checkpoint->status.failed = checkpoint->status.copied = false;
	monitor_unlock(&checkpoint->monitor);
}

void checkpoint_stop(struct checkpoint *checkpoint, bool finish)
{
	int64_t end = clock_ms() + FINISH_MS;

	if (checkpoint == NULL)
		return;
	monitor_lock(&checkpoint->monitor);
	checkpoint->finishing = true;
	checkpoint->stopping = !finish;
	monitor_signal(&checkpoint->monitor);
	while (!checkpoint->stopping && !checkpoint->ended && clock_ms() < end)
		monitor_wait(&checkpoint->monitor, end);
	checkpoint->stopping = true;
	while (!checkpoint->ended) {
		if (checkpoint->checking)
			snapshot_interrupt(checkpoint->snapshot);
		monitor_wait(&checkpoint->monitor, clock_ms() + INTERRUPT_MS);
	}
	monitor_unlock(&checkpoint->monitor);
	pthread_join(checkpoint->thread, NULL);
	checkpoint_free(checkpoint);
}
