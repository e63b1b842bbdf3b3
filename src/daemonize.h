/* Going to the background once the start has succeeded. */
#ifndef ECHOD_DAEMONIZE_H
#define ECHOD_DAEMONIZE_H

/*
 * Forks. The child returns in a new session, with the socket through which it reports. The parent waits for the report
 * and returns -2, with its exit status in *status. -1 with errno when the fork has failed.
 */
int daemonize(int *status);

/* Reports the result of the start to the parent. On success it redirects stdio to /dev/null and changes to /. */
void daemonize_report(int report, int status);

#endif
