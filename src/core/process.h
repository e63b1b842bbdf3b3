/*
 * The state that a process inherits from its parent: blocked and ignored signals, limits, the umask, timers and
 * descriptors. The daemon sets up what it needs itself; programs of exec get the inherited state back.
 */
#ifndef ECHOD_CORE_PROCESS_H
#define ECHOD_CORE_PROCESS_H

/*
 * Must come first in main(). HUP, INT, TERM, USR1 and USR2 are blocked from here on, so that none is lost and none
 * kills the process.
 */
void process_begin(void);
/* While nothing has to be closed in order: TERM and INT end the process with status 0. */
void process_let_stop(void);
/* Blocks the five signals again. */
void process_block_signals(void);
/* Unblocks the five signals, once they have handlers or need none; those that are pending are delivered. */
void process_unblock_signals(void);

/* Closes the inherited descriptors: those from 3 up without close-on-exec, which all of our own have. */
void process_close_strays(void);

/*
 * For a child before its execve(): puts back what process_begin() found. TERM and CHLD are neither blocked nor
 * ignored, or echod could not end the program and the program could not wait for its own children.
 * Async-signal-safe.
 */
void process_restore(void);

#endif
