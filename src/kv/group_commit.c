/* What is lost by waiting in vain is bounded: by a few commits' time, by END_MAX, and by the rests after it. */
#include "kv/group_commit.h"

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

static size_t expected(const struct group_commit *group, size_t all)
{
	return group->commit * 1000 < group->change * (int64_t)all ? all - all / 2 : all;
}

void group_commit_begin(
    struct group_commit *group, size_t changes, size_t open, int64_t took, int64_t now)
{
	learn(&group->commit, took);
	group->change -= group->change / FADES;
	group->expected = group->rests > 0 ? 0 : expected(group, changes + open);
	group->rests -= group->rests > 0;
	group->had = group->seen = open;
	group->begun = group->last = now;
	group->patience = at_most(took / 2, PATIENCE_MAX);
	group->end = now + at_most(4 * took, END_MAX);
}

static void end_well(struct group_commit *group, size_t changes, int64_t now)
{
	if (group->expected > 0 && changes > group->had)
		learn(
		    &group->change, (now - group->begun) * 1000 / (int64_t)(changes - group->had));
	group->expected = 0;
}

bool group_commit_waits(struct group_commit *group, size_t changes, int64_t now)
{
	if (changes >= group->expected) {
		end_well(group, changes, now);
		return false;
	}
	if (changes > group->seen) {
		group->seen = changes;
		group->last = now;
	}
	if (now < group->end && now - group->last < group->patience)
		return true;
	group->expected = 0;
	group->rests = RESTS;
	return false;
}
