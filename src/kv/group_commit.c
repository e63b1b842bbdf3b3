/* A wait that brings no changes ends after four commits' time, or END_MAX, and the next NO_WAITS commits do not wait. */
#include "kv/group_commit.h"

#define IDLE_MAX 1000 /* us without another change */
#define END_MAX 5000  /* us in all */
#define NO_WAITS 15   /* commits that do not wait after a useless wait */

/*
 * The newest value makes up a quarter of a running mean. The mean of a change decays, because while it is too large no
 * batch may wait, and only a wait measures it.
 */
#define NEWEST 4
#define DECAY 32

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
	group->change -= group->change / DECAY;
	group->expected = group->no_waits > 0 ? 0 : expected(group, changes + open);
	group->no_waits -= group->no_waits > 0;
	group->at_begin = group->seen = open;
	group->begun = group->grown = now;
	group->idle_max = at_most(took / 2, IDLE_MAX);
	group->end = now + at_most(4 * took, END_MAX);
}

bool group_commit_waits(struct group_commit *group, size_t changes, int64_t now)
{
	if (changes >= group->expected) {
		if (group->expected > 0 && changes > group->at_begin)
			learn(&group->change,
			    (now - group->begun) * 1000 / (int64_t)(changes - group->at_begin));
		group->expected = 0;
		return false;
	}
	if (changes > group->seen) {
		group->seen = changes;
		group->grown = now;
	}
	if (now < group->end && now - group->grown < group->idle_max)
		return true;
	group->expected = 0;
	group->no_waits = NO_WAITS;
	return false;
}
