/* What is lost by waiting in vain is bounded: by a few commits' time, by END_MAX, and by the rests after it. */
#include "kv/gather.h"

#define PATIENCE_MAX 1000 /* us in which nobody comes */
#define END_MAX 5000      /* us in all */
#define RESTS 15

static int64_t at_most(int64_t value, int64_t limit)
{
	return value < limit ? value : limit;
}

void gather_begin(struct gather *gather, size_t changes, int64_t took, int64_t now)
{
	bool rests = gather->rests > 0;

	*gather = (struct gather){
		.expected = rests ? 0 : changes,
		.last = now,
		.patience = at_most(took / 2, PATIENCE_MAX),
		.end = now + at_most(4 * took, END_MAX),
		.rests = rests ? gather->rests - 1 : 0,
	};
}

bool gather_waits(struct gather *gather, size_t changes, int64_t now)
{
	if (changes >= gather->expected)
		return false;
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
