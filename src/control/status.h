/* The state of a running server: as JSON, as text for people, and in the log. */
#ifndef ECHOD_CONTROL_STATUS_H
#define ECHOD_CONTROL_STATUS_H

struct server;

/* The lines of `status` to the log, at level info. */
void status_log(const struct server *server);

#endif
