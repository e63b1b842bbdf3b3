/*
 * How late the loop is: a descriptor of our own becomes readable at known times, and how long it then waits
 * for its turn is what a client waits whose request comes at that moment. Ten times a second while there is
 * something to do, else once.
 */
#ifndef ECHOD_NET_PULSE_H
#define ECHOD_NET_PULSE_H

#include <stdint.h>

struct loop;
struct pulse;

/* NULL with errno. */
struct pulse *pulse_new(struct loop *loop);
void pulse_free(struct pulse *pulse);
/* The loop runs from now on: what came before it was no turn. */
void pulse_start(struct pulse *pulse);

struct pulse_facts {
	/* Microseconds of lateness: of the last 600 samples (a busy minute), and since the start. */
	int64_t median, p99, max, longest;
	/* CPU time of the process as a share of one CPU, over the last minute or what there is of it. */
	double cpu_share;
};
void pulse_read(const struct pulse *pulse, struct pulse_facts *facts);

#endif
