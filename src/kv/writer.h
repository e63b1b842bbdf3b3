/*
 * A writer: a thread that waits for the disk, so that the loop does not. It is given one batch at a time;
 * in between it folds, if its medium does, and after a failure it tries until the disk works again.
 */
#ifndef ECHOD_KV_WRITER_H
#define ECHOD_KV_WRITER_H

#include <stdbool.h>
#include <stdint.h>

struct batch;
struct medium;
struct writer;

/* What has happened since it was last asked. The batches are the caller's again; NULL = none. */
struct writer_news {
	struct batch *done;   /* is committed */
	struct batch *undone; /* has failed, and is not kept */
	bool failed;          /* the medium has: nothing can be given until it has recovered */
	bool recovered;       /* it has, after the failure if there is news of both */
	char why[256];        /* it has failed */
	uint64_t log_bytes;
};

/*
 * Takes over the medium, whatever happens. `interval`, ms: the longest time between two batches of busy
 * clients; they have been answered, and a batch whose commit has failed is tried again. 0: they have not, and
 * it is given back. `fd` is an eventfd that it makes readable when there is news. NULL with errno.
 */
struct writer *writer_start(struct medium *medium, int64_t interval, int fd);
/* It rests until then, so that whoever opens more stores at the start may fork. */
void writer_wake(struct writer *writer);

/* Waits until what it was given is committed or has failed. */
void writer_finish(struct writer *writer);

/*
 * Commits what it was given and then the last batch (NULL = none), which it takes over; what has failed is
 * tried once more. Frees them all. 0, or -1 when changes are lost.
 */
int writer_stop(struct writer *writer, struct batch *last);

/* Takes over the batch; false when it has one still, or when there is news of a failure. */
bool writer_give(struct writer *writer, struct batch *batch);

/*
 * Whether it has made `fd` readable since the last call of this function. If so, read `fd` first and then ask
 * every writer that shares it, since the read clears the calls of all of them.
 */
bool writer_has_called(struct writer *writer);
void writer_ask(struct writer *writer, struct writer_news *news);

#endif
