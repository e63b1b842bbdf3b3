/* Every address of a running server, and whether it is served. */
#ifndef ECHOD_OBSERVE_LISTENERS_H
#define ECHOD_OBSERVE_LISTENERS_H

#include <jansson.h>

struct server;

/*
 * An object for the caller to free, with an array "listeners": where each is, where the config asks for it, and its
 * state.
 */
json_t *listeners_gather(const struct server *server);

#endif
