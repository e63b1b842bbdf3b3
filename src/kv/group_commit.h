/*
 * How long a batch stays open for the clients that the last commit has let go. They come back with their
 * next changes in a moment, and a commit costs the same for many as for few; without a wait they would go on
 * in small groups. While the disk takes longer than serving all of them does, all are waited for; else half of
 * them, so that one half is served while the disk has the other's. Who asks alone never waits, and where those
 * who are expected don't come, nobody is waited for for a while. A value; times are in us.
 */
#ifndef ECHOD_KV_GROUP_COMMIT_H
#define ECHOD_KV_GROUP_COMMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct group_commit {
	size_t expected; /* changes; 0 = nobody is waited for */
	size_t had;      /* of them, when the wait began */
	size_t seen;     /* at the last look */
	int64_t begun;
	int64_t last; /* when there were more than before */
	int64_t patience, end;
	int64_t commit; /* what one takes, of late */
	int64_t change; /* what serving one takes, of late; ns */
	unsigned rests; /* so many commits are not to be followed by a wait */
};

/* A commit of so many changes is done, and took that long; the batch that is open has so many. */
void group_commit_begin(
    struct group_commit *group, size_t changes, size_t open, int64_t took, int64_t now);

/* Whether the open batch, of that many changes, is to wait for more. */
bool group_commit_waits(struct group_commit *group, size_t changes, int64_t now);

#endif
