/*
 * What a writer commits batches to: the spool or the journal. Not for two threads at once.
 */
#ifndef ECHOD_KV_MEDIUM_H
#define ECHOD_KV_MEDIUM_H

#include <stdint.h>

struct batch;
struct medium;

struct medium_ops {
	/*
	 * Makes the batch durable: when it returns 0, the changes outlive a power cut. -1 with `failure`: what
	 * is there of them is unknown until recover() has worked.
	 */
	int (*commit)(struct medium *medium, const struct batch *batch);
	/* After a failure: proves that it can be written again. 0, or -1 with `failure`. */
	int (*recover)(struct medium *medium);
	/* Bytes that are to be folded; NULL = it does not fold. */
	uint64_t (*backlog)(const struct medium *medium);
	/* Folds some of them, for some milliseconds. 0, or -1 with `failure`. */
	int (*fold)(struct medium *medium);
	void (*close)(struct medium *medium);
};

struct medium {
	const struct medium_ops *ops;
	char failure[256]; /* why the last call has failed, for the log of echod */
};

#endif
