/*
 * Something that has to be done outside of a handler: at the end of this turn of the loop, when all
 * clients that are ready have been served; after a while; or when a descriptor calls for it.
 */
#ifndef ECHOD_NET_ERRAND_H
#define ECHOD_NET_ERRAND_H

#include <stdint.h>

struct errand;
struct loop;

/* Runs the function whenever fd (-1 = none; it stays the caller's) is readable. NULL with errno. */
struct errand *errand_new(struct loop *loop, int fd, void (*run)(void *arg), void *arg);
/* NULL is fine. */
void errand_free(struct errand *errand);

/* Runs it in that many ms (0 = at the end of this turn), in place of another time it was set to. */
void errand_in(struct errand *errand, int64_t ms);
/* Runs it in the next turn, so that one errand of many steps leaves the others theirs. */
void errand_next_turn(struct errand *errand);

#endif
