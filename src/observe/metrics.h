/* Every counter and state of a running server as a number with a name, as Prometheus has them. */
#ifndef ECHOD_OBSERVE_METRICS_H
#define ECHOD_OBSERVE_METRICS_H

#include <jansson.h>

struct server;

/*
 * An object for the caller to free: names with their labels, those of one name together. What ends in _total only
 * grows while the daemon runs; all else is a state. NULL when out of memory.
 */
json_t *metrics_gather(const struct server *server);

#endif
