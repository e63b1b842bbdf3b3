/* The state of a running server as JSON; what `status` prints for people is made of it. */
#ifndef ECHOD_CONTROL_FACTS_H
#define ECHOD_CONTROL_FACTS_H

#include <jansson.h>

struct server;

/* An object for the caller to free; NULL when out of memory. */
json_t *facts_gather(const struct server *server);

#endif
