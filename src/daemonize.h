/* Going to the background once the start has succeeded. */
#ifndef ECHOD_DAEMONIZE_H
#define ECHOD_DAEMONIZE_H

/*
 * Forks. The child goes on in a session of its own and gets the socket to report through. The parent waits for the
 * report: it gets -2, and in *status what it has to exit with. -1 with errno when there was no fork.
 */
int daemonize(int *status);

/* Reports to the parent how the start went; on success stdio leads nowhere from now on, and we are in /. */
void daemonize_report(int report, int status);

#endif
