/*
 * Group commit: how long a batch stays open for the clients whose last changes have just been committed. They send
 * their next changes in a moment, and a commit costs the same for many changes as for few; without a wait the
 * clients would fall apart into small groups. If a commit takes longer than serving all of them, the batch waits for
 * all; otherwise for half of them, so that the loop serves one half while the disk writes the changes of the other. A
 * single client never waits. After a wait that did not bring as many changes as expected, the next commits are not
 * followed by one. The struct is a plain value; times are in us.
 */
#ifndef ECHOD_KV_GROUP_COMMIT_H
#define ECHOD_KV_GROUP_COMMIT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct group_commit {
	size_t expected;   /* changes that the batch waits for; 0 = it does not wait */
	size_t at_begin;   /* changes in the batch when the wait began */
	size_t seen;       /* changes in the batch at the last call */
	int64_t begun;     /* when the wait began */
	int64_t grown;     /* when the batch had grown last */
	int64_t idle_max;  /* the wait ends when the batch has not grown for so long, */
	int64_t end;       /* and at this time */
	int64_t commit;    /* running mean of a commit's time */
	int64_t change;    /* running mean of the time to serve a change, ns */
	unsigned no_waits; /* so many commits are not followed by a wait */
};

/* A commit of `changes` changes has taken `took`; the open batch has `open` changes. */
void group_commit_begin(
    struct group_commit *group, size_t changes, size_t open, int64_t took, int64_t now);

/* Whether the open batch, which has so many changes, should wait for more. */
bool group_commit_waits(struct group_commit *group, size_t changes, int64_t now);

#endif
