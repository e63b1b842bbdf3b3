/*
 * A histogram of durations: a fixed number of buckets whose width grows with the value, so that any
 * percentile is known to within two percent. Nothing to allocate or free; zeroed = empty.
 */
#ifndef ECHOD_BENCH_HISTOGRAM_H
#define ECHOD_BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_BUCKETS 4096

struct histogram {
	uint64_t count, max;
	uint64_t buckets[HISTOGRAM_BUCKETS];
};

/* Adds `times` durations of that many nanoseconds each. */
void histogram_add(struct histogram *histogram, uint64_t nanoseconds, uint64_t times);

/* The duration, in nanoseconds, that `fraction` of all stay below; 0 when there are none. */
uint64_t histogram_percentile(const struct histogram *histogram, double fraction);

#endif
