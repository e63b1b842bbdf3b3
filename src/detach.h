/* Going to the background, with the news of the start brought back. */
#ifndef ECHOD_DETACH_H
#define ECHOD_DETACH_H

/*
 * Forks. The child goes on in a session of its own with the socket to report through; the parent waits for
 * the report and does not return: *status is what it has to exit with, and -2 is returned to it.
 * -1 with errno when there was no fork.
 */
int detach(int *status);

/* Tells the parent how the start went; on success stdio leads nowhere from now on, and we are in /. */
void detach_report(int report, int status);

#endif
