/*
 * A lookup: a host name resolved in a thread of its own, since the resolver may block for as long as
 * it likes. An eventfd wakes the loop at the end.
 */
#ifndef ECHOD_NET_LOOKUP_H
#define ECHOD_NET_LOOKUP_H

struct address;
struct endpoints;
struct event_base;
struct lookup;

/*
 * The end: `found` is the callee's from now on, or empty for the reason `why`. The lookup is freed after the call.
 */
typedef void lookup_done(void *arg, struct endpoints *found, const char *why);

/* Copies the address. NULL with errno when out of memory, descriptors or threads. */
struct lookup *lookup_start(
    struct event_base *base, const struct address *address, lookup_done *done, void *arg);

/* Nobody waits for it any more: `done` is not called. NULL is fine. */
void lookup_cancel(struct lookup *lookup);

#endif
