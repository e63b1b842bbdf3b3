/* The state of a running server in words. */
#ifndef ECHOD_STATUS_H
#define ECHOD_STATUS_H

struct loop;

/* Some lines per instance to the log, at level info: addresses, clients, totals, ends and drops. */
void status_log(const struct loop *loop);

#endif
