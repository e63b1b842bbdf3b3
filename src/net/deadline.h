/*
 * Deadlines of many owners on one timer: a wheel. Each owner has one entry, filed under the time of its
 * next check; activity in between costs nothing, since the owner works out at the check what is due. An
 * idle loop wakes only for checks.
 */
#ifndef ECHOD_NET_DEADLINE_H
#define ECHOD_NET_DEADLINE_H

#include <stdint.h>
#include <sys/queue.h>

struct event_base;

/* Embedded in its owner; zeroed = not filed. */
struct deadline {
	LIST_ENTRY(deadline) entry;
	int64_t due; /* ms, the time of the check that it is filed for; 0 = not filed */
};

struct deadlines;

/*
 * Calls check() for an entry whose time has come; it is no longer filed then, and check() may file it
 * again or free its owner. NULL when out of memory.
 */
struct deadlines *deadlines_new(
    struct event_base *base, void (*check)(struct deadline *deadline, int64_t now_ms));
void deadlines_free(struct deadlines *deadlines);

/* Files the entry for a check not later than `due` (and at most one tick, 64 ms, after it). */
void deadline_set(struct deadlines *deadlines, struct deadline *deadline, int64_t due, int64_t now);
void deadline_cancel(struct deadlines *deadlines, struct deadline *deadline);

#endif
