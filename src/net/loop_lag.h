/*
 * The lag of the loop: a timer's descriptor becomes readable at known times, and the loop serves it as late as it
 * serves a client whose request arrives at that moment. Samples are ten a second while there is work, else one.
 */
#ifndef ECHOD_NET_LOOP_LAG_H
#define ECHOD_NET_LOOP_LAG_H

#include <stdint.h>

struct loop;
struct loop_lag;

/* NULL with errno. */
struct loop_lag *loop_lag_new(struct loop *loop);
void loop_lag_free(struct loop_lag *lag);
/* The loop runs from now on: the time before that was no turn. */
void loop_lag_start(struct loop_lag *lag);

struct loop_lag_facts {
	/* Microseconds of lateness: of the last 600 samples (a busy minute), and since the start. */
	int64_t median, p99, max, longest;
	/* CPU time of the process as a share of one CPU, over the last minute or what there is of it. */
	double cpu_share;
};
void loop_lag_read(const struct loop_lag *lag, struct loop_lag_facts *facts);

#endif
