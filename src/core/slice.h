/* A slice: a range of bytes that it does not own. */
#ifndef ECHOD_CORE_SLICE_H
#define ECHOD_CORE_SLICE_H

#include <stddef.h>

struct slice {
	const char *bytes;
	size_t length;
};

#endif
