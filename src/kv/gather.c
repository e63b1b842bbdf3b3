/* What is lost by waiting in vain is bounded: by a few commits' time, by END_MAX, and by the rests after it. */
#include "kv/gather.h"

#define PATIENCE_MAX 1000 /* us in which nobody comes */
#define END_MAX 5000      /* us in all */
#define RESTS 15

/* How much of a mean is made of the newest value; and what is not measured fades, so that it will be. */
#define NEWEST 4
#define FADES 32

static int64_t at_most(int64_t value, int64_t limit)
{
	return value < limit ? value : limit;
}

static void learn(int64_t *mean, int64_t newest)
{
	*mean = *mean == 0 ? newest : *mean + (newest - *mean) / NEWEST;
}

static size_t expected(const struct gather *gather, size_t all)
{
	return gather->commit * 1000 < gather->change * (int64_t)all ? all - all / 2 : all;
}

void gather_begin(struct gather *gather, size_t changes, size_t open, int64_t took, int64_t now)
{
	learn(&gather->commit, took);
	gather->change -= gather->change / FADES;
	gather->expected = gather->rests > 0 ? 0 : expected(gather, changes + open);
	gather->rests -= gather->rests > 0;
	gather->had = gather->seen = open;
	gather->begun = gather->last = now;
	gather->patience = at_most(took / 2, PATIENCE_MAX);
	gather->end = now + at_most(4 * took, END_MAX);
}

static void end_well(struct gather *gather, size_t changes, int64_t now)
{
	if (gather->expected > 0 && changes > gather->had)
		learn(&gather->change,
		    (now - gather->begun) * 1000 / (int64_t)(changes - gather->had));
	gather->expected = 0;
}

bool gather_waits(struct gather *gather, size_t changes, int64_t now)
{
	if (changes >= gather->expected) {
		end_well(gather, changes, now);
		return false;
	}
	if (changes > gather->seen) {
		gather->seen = changes;
		gather->last = now;
	}
	if (now < gather->end && now - gather->last < gather->patience)
		return true;
	gather->expected = 0;
	gather->rests = RESTS;
	return false;
}
