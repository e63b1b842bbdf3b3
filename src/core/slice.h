/* A slice: a range of bytes that it does not own. */
#ifndef ECHOD_CORE_SLICE_H
#define ECHOD_CORE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct slice {
	const char *bytes;
	size_t length;
};

static inline bool slice_is_equal(struct slice a, struct slice b)
{
	return a.length == b.length && (a.length == 0 || memcmp(a.bytes, b.bytes, a.length) == 0);
}

#endif
