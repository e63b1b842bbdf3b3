/*
 * Whether jansson was ever short of memory: its parser then goes on without some bytes, and finds that
 * what is left is no JSON.
 */
#ifndef ECHOD_CORE_JSON_MEMORY_H
#define ECHOD_CORE_JSON_MEMORY_H

#include <stdbool.h>

/* Has jansson allocate through here from now on; may be called again. */
void json_memory_watch(void);

/* Whether an allocation has failed since the last call. */
bool json_memory_was_short(void);

#endif
