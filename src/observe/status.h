/* The state of a running server and its problems, for `status` and for monitoring. */
#ifndef ECHOD_OBSERVE_STATUS_H
#define ECHOD_OBSERVE_STATUS_H

#include <jansson.h>

struct instance;
struct server;

/* An object for the caller to free, with an array "problems" of what needs a look; NULL when out of memory. */
json_t *status_gather(const struct server *server);

/* The numbers of the service's own report, by name; its problems are added to the array, unless that is NULL. */
json_t *status_report(const struct instance *instance, json_t *problems);

#endif
