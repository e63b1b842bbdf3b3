/*
 * The world as a harness wants it: the clocks stand still until they are told to go on, for us and for
 * libevent, and the kernel's random bytes are always the same. An input thus always does the same.
 */
#ifndef ECHOD_FUZZ_WORLD_H
#define ECHOD_FUZZ_WORLD_H

#include <stdint.h>

struct server;

/* A daemon with that configuration, which must be right, at the beginning of time. */
struct server *world_begin(const char *config);
void world_pass(int64_t ms);
/* Lets time pass beyond every deadline, and ends the daemon. Its clients must have left. */
void world_end(struct server *server);

#endif
