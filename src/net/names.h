/*
 * The host names of a configuration, looked up all at the same time and beside the loop: a resolver that does
 * not answer holds up nobody.
 */
#ifndef ECHOD_NET_NAMES_H
#define ECHOD_NET_NAMES_H

#include <stdbool.h>

struct address;
struct endpoints;
struct event_base;
struct names;

/* `done` is called by the loop when the last lookup has ended; it may free the names. NULL with errno ENOMEM. */
struct names *names_new(struct event_base *base, void (*done)(void *arg), void *arg);
/* Ends the lookups that are still under way; `done` is not called any more. NULL is fine. */
void names_free(struct names *names);

/*
 * Begins to look up the host of the address, which must outlive the names; once for all addresses of the same
 * text. A lookup that cannot begin counts as one that has found nothing. 0, or -1 with errno ENOMEM.
 */
int names_look_up(struct names *names, const struct address *address);

/* Whether a lookup is still under way. */
bool names_are_pending(const struct names *names);

/* What the lookup has found: owned by the names. NULL, with *why valid as long as they are, for nothing. */
const struct endpoints *names_find(
    const struct names *names, const struct address *address, const char **why);

#endif
