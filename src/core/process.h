/*
 * What the process has from its parent: signals that are blocked or ignored, limits, the umask, timers,
 * descriptors. The daemon sets up what it needs; the programs that it starts get what it was started with.
 */
#ifndef ECHOD_CORE_PROCESS_H
#define ECHOD_CORE_PROCESS_H

/*
 * First of all in main(). From here on HUP, INT, TERM, USR1 and USR2 wait until they are taken: none is lost, and none
 * kills.
 */
void process_begin(void);
/* Nothing is there yet that would have to be stopped in order: TERM and INT end the process, with status 0; */
void process_let_stop(void);
/* and they wait again. */
void process_hold_signals(void);
/* They have handlers, or need none: those that wait are delivered, and none waits any more. */
void process_take_signals(void);

/* Closes what the parent has left open; what this process has opened itself is close-on-exec and stays. */
void process_close_strays(void);

/*
 * In a child that is about to become a program: as process_begin() found it, but for TERM, which ends programs,
 * and CHLD, without which they could not wait for theirs. Async-signal-safe.
 */
void process_restore(void);

#endif
