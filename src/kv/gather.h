/*
 * How long a batch stays open for the clients that the last commit has let go. They come back with their
 * next changes in a moment, and a commit costs the same for all as for half of them; without a wait they
 * would go on in two halves, each with commits of its own. Who asks alone never waits, and where those
 * who are expected don't come, nobody is waited for for a while. A value; times are in us.
 */
#ifndef ECHOD_KV_GATHER_H
#define ECHOD_KV_GATHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct gather {
	size_t expected; /* changes; 0 = nobody is waited for */
	size_t seen;     /* of them, at the last look */
	int64_t last;    /* when there were more than before */
	int64_t patience, end;
	unsigned rests; /* so many commits are not to be followed by a wait */
};

/* A commit is done, and took that long. So many changes were in it, and in the batch that is open. */
void gather_begin(struct gather *gather, size_t changes, int64_t took, int64_t now);

/* Whether the open batch, of that many changes, is to wait for more. */
bool gather_waits(struct gather *gather, size_t changes, int64_t now);

#endif
