/*
 * A task: a function that the loop runs outside of any handler: at the end of this turn, when all clients that are
 * ready have been served; after a while; or when a descriptor is readable.
 */
#ifndef ECHOD_NET_TASK_H
#define ECHOD_NET_TASK_H

#include <stdint.h>

struct task;
struct loop;

/* Runs the function whenever fd (-1 = none; it stays the caller's) is readable. NULL with errno. */
struct task *task_new(struct loop *loop, int fd, void (*run)(void *arg), void *arg);
/* NULL is fine. */
void task_free(struct task *task);

/*
 * Schedules a run in that many ms, unless one is scheduled for an earlier time; 0 = at the end of this turn, in addition to
 * a scheduled one. Every run, also that of the descriptor, cancels the scheduled one.
 */
void task_schedule(struct task *task, int64_t ms);
/* Runs it in the next turn, so that one task of many steps leaves the others theirs. */
void task_next_turn(struct task *task);

#endif
