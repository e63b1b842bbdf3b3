/*
 * The flusher: a thread that appends batches to the WAL and waits for the disk, so that the loop does not. It takes one
 * batch at a time, and after a failure tries until the disk works again.
 */
#ifndef ECHOD_KV_FLUSHER_H
#define ECHOD_KV_FLUSHER_H

#include <stdbool.h>
#include <stdint.h>

struct batch;
struct error;
struct flusher;
struct wal;

/* What has happened since the last poll. The batches are the caller's again; NULL = none. */
struct flusher_completion {
	struct batch *done;   /* durable */
	struct batch *undone; /* failed, and not kept */
	bool failed;          /* a batch has, or the next one would have */
	char failure[256];    /* why */
	/* At present: */
	bool works;
	bool deletes;      /* only space is lacking: a batch of deletions can be submitted */
	bool seal_pending; /* flusher_seal() was called, and the segment is not sealed yet */
	uint64_t segment;  /* of the WAL, that is appended to; those before it are sealed */
	uint64_t bytes;    /* of the log, see struct wal */
};

/*
 * Takes over the log, whatever happens. `interval`, ms: the longest time between two batches of clients that have been
 * replied to, so that a batch that has failed is kept and written again; 0: clients wait, and it is returned. The
 * thread makes `fd`, an eventfd, readable when there is a completion. NULL with the error.
 */
struct flusher *flusher_start(struct wal *wal, int64_t interval, int fd, struct error *error);

/* Takes over the batch; false if it has one, or does not work, or a failure has not been polled yet. */
bool flusher_submit(struct flusher *flusher, struct batch *batch);

/* Has the segment sealed, whatever its age; if that fails it is a failure of the log. */
void flusher_seal(struct flusher *flusher);

void flusher_poll(struct flusher *flusher, struct flusher_completion *completion);

/*
 * Writes what was submitted and then the last batch (NULL = none), which it takes over; what has failed is tried once
 * more. Then seals the log, and sets *segment, see struct flusher_completion. Frees all. 0, or -1: changes are lost.
 */
int flusher_stop(struct flusher *flusher, struct batch *last, uint64_t *segment);

#endif
