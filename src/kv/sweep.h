/*
 * The sweep: frees the memory of keys that have expired and that no client reads. It walks through the table in slices
 * of a fraction of a millisecond, in passes. After a pass it knows when the next key expires, and pauses until then.
 * The time between slices adapts to what they find. It is embedded in its store, which runs the slices.
 */
#ifndef ECHOD_KV_SWEEP_H
#define ECHOD_KV_SWEEP_H

#include <stdint.h>

struct keyspace;

struct sweep {
	uint64_t cursor; /* of the pass; 0 = none is under way */
	int64_t left;    /* ms since 1970: the earliest expiry that the pass has seen */
	int64_t pause;   /* ms between slices */
	int64_t next;    /* ms on the monotonic clock: no slice before */
};

void sweep_init(struct sweep *sweep);

/* In how many ms the next slice is due; 0 = now, -1 = never, because no key expires. */
int64_t sweep_wait(const struct sweep *sweep, struct keyspace *keyspace);

/* Runs a slice. */
void sweep_run(struct sweep *sweep, struct keyspace *keyspace);

#endif
