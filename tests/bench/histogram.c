/* Buckets: 64 steps within each power of two. */
#include "histogram.h"

#define STEP_BITS 6
#define STEPS (1u << STEP_BITS)

static unsigned bucket_of(uint64_t value)
{
	unsigned power;

	if (value < STEPS)
		return (unsigned)value;
	power = 63 - (unsigned)__builtin_clzll(value) - STEP_BITS;
	return (power + 1) * STEPS + (unsigned)((value >> power) - STEPS);
}

/* The largest value that belongs to the bucket. */
static uint64_t bucket_top(unsigned bucket)
{
	unsigned power = bucket / STEPS;

	if (power == 0)
		return bucket;
	return ((uint64_t)(STEPS + bucket % STEPS) + 1) * (UINT64_C(1) << (power - 1)) - 1;
}

void histogram_add(struct histogram *histogram, uint64_t nanoseconds, uint64_t times)
{
	histogram->buckets[bucket_of(nanoseconds)] += times;
	histogram->count += times;
	if (nanoseconds > histogram->max)
		histogram->max = nanoseconds;
}

uint64_t histogram_percentile(const struct histogram *histogram, double fraction)
{
	double wanted = fraction * (double)histogram->count;
	uint64_t seen = 0, top;

	if (histogram->count == 0)
		return 0;
	for (unsigned i = 0; i < HISTOGRAM_BUCKETS; i++) {
		seen += histogram->buckets[i];
		if ((double)seen < wanted || seen == 0)
			continue;
		top = bucket_top(i);
		return top < histogram->max ? top : histogram->max;
	}
	return histogram->max;
}
