/*
 * Looks up all host names of a configuration at the same time, in threads, so that a resolver that does not answer
 * never blocks the loop.
 */
#ifndef ECHOD_NET_NAMES_H
#define ECHOD_NET_NAMES_H

#include <stdbool.h>

struct address;
struct endpoints;
struct event_base;
struct names;

/* The loop calls `done` when the last lookup has ended; `done` may free the names. NULL with errno ENOMEM. */
struct names *names_new(struct event_base *base, void (*done)(void *arg), void *arg);
/* Cancels pending lookups; `done` is no longer called. NULL is fine. */
void names_free(struct names *names);

/*
 * Starts to look up the host of the address, which must outlive the names. Addresses with the same text share one
 * lookup. A lookup that cannot start counts as one that found nothing. 0, or -1 with errno ENOMEM.
 */
int names_look_up(struct names *names, const struct address *address);

/* Whether a lookup is still under way. */
bool names_are_pending(const struct names *names);

/* What the lookup found; the names own it. NULL if that is nothing, with *why, which the names own, too. */
const struct endpoints *names_find(
    const struct names *names, const struct address *address, const char **why);

#endif
