/* The kinds of traces. */
#include "trace.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct trace_kind {
	const char *name;
	double exponent;
	uint32_t (*next)(struct trace *trace);
};

/* xorshift64*, Vigna 2014 */
static uint64_t trace_random(struct trace *trace)
{
	trace->random ^= trace->random >> 12;
	trace->random ^= trace->random << 25;
	trace->random ^= trace->random >> 27;
	return trace->random * 2685821657736338717u;
}

static uint32_t zipf_next(struct trace *trace)
{
	double at = (double)(trace_random(trace) >> 11) * 0x1p-53 * trace->sums[trace->keys - 1];
	uint32_t low = 0, high = trace->keys - 1;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (trace->sums[middle] < at)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static uint32_t scan_next(struct trace *trace)
{
	if (trace->scan_left == 0 && trace_random(trace) % (trace->keys / 5) == 0)
		trace->scan_left = trace->keys / 10;
	if (trace->scan_left == 0 || trace_random(trace) % 2 == 0)
		return zipf_next(trace);
	trace->scan_left--;
	return trace->next_new++;
}

static uint32_t shift_next(struct trace *trace)
{
	uint64_t passed = trace->requests / (trace->keys / 2000);

	return (uint32_t)((zipf_next(trace) + passed) % trace->keys);
}

static uint32_t phases_next(struct trace *trace)
{
	uint64_t phase = trace->requests / (2 * trace->keys);

	return (uint32_t)((zipf_next(trace) + phase * (trace->keys / 5)) % trace->keys);
}

static uint32_t once_next(struct trace *trace)
{
	return (uint32_t)trace->requests;
}

static const struct trace_kind kinds[] = {
	{ "zipf-0.9", 0.9, zipf_next },
	{ "zipf-1.1", 1.1, zipf_next },
	{ "scan", 0.9, scan_next },
	{ "shift", 1.0, shift_next },
	{ "phases", 0.9, phases_next },
	{ "once", 0, once_next },
};
#define KINDS (sizeof(kinds) / sizeof(*kinds))

const char *trace_name(unsigned n)
{
	return n < KINDS ? kinds[n].name : NULL;
}

int trace_init(struct trace *trace, const char *name, uint32_t keys)
{
	double sum = 0;
	size_t n = 0;

	while (n < KINDS && strcmp(kinds[n].name, name) != 0)
		n++;
	if (n == KINDS || keys < 2000)
		return -1;
	*trace =
	    (struct trace){ .keys = keys, .kind = &kinds[n], .random = 12345, .next_new = keys };
	trace->sums = malloc(keys * sizeof(*trace->sums));
	if (trace->sums == NULL)
		return -1;
	for (uint32_t key = 0; key < keys; key++)
		trace->sums[key] = sum += pow(key + 1, -trace->kind->exponent);
	return 0;
}

void trace_clear(struct trace *trace)
{
	free(trace->sums);
}

uint32_t trace_next(struct trace *trace)
{
	uint32_t key = trace->kind->next(trace);

	trace->requests++;
	return key;
}
