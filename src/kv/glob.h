/* Glob patterns for keys, with the syntax and the corner cases of Redis: * ? [abc] [^a-z] and \ before a character. */
#ifndef ECHOD_KV_GLOB_H
#define ECHOD_KV_GLOB_H

#include <stdbool.h>
#include <stddef.h>

#include "core/slice.h"

/*
 * Whether the pattern matches all of the key. The time is proportional to the length of the key times that of the
 * pattern at worst; *work is increased by the number of steps.
 */
bool glob_match(struct slice pattern, struct slice key, size_t *work);

#endif
