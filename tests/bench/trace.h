/*
 * Traces: which key of a cache is asked for next, as a number. A trace is the same each time. Popularity is zipf(s): the n-th
 * key is asked for in proportion to 1 / n^s.
 *
 *     zipf-0.9, zipf-1.1
 *     scan      zipf(0.9); now and then, every other request is for a key that is new, until there were a tenth as many
 *     shift     zipf(1.0); the popularity of each key passes to the next one 2000 times while as many requests are made as
 *               there are keys
 *     phases    zipf(0.9); all at once, the popularity of each key passes to one that is a fifth of all keys away, after
 *               twice as many requests as there are keys
 *     once      each key once, in order
 */
#ifndef ECHOD_BENCH_TRACE_H
#define ECHOD_BENCH_TRACE_H

#include <stdint.h>

struct trace {
	uint32_t keys;
	const struct trace_kind *kind;
	double *sums; /* of the popularities of the keys up to n */
	uint64_t random;
	uint64_t requests;
	uint32_t scan_left, next_new;
};

/* The name of kind n; NULL behind the last. */
const char *trace_name(unsigned n);

/* 0, or -1: there is no such kind, or no memory. */
int trace_init(struct trace *trace, const char *name, uint32_t keys);
void trace_clear(struct trace *trace);

uint32_t trace_next(struct trace *trace);

#endif
