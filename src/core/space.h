/* White space: the six ASCII characters 09-0D and 20, whatever the locale. */
#ifndef ECHOD_CORE_SPACE_H
#define ECHOD_CORE_SPACE_H

#include <stdbool.h>

static inline bool is_space(char byte)
{
	return byte == ' ' || (byte >= '\t' && byte <= '\r');
}

#endif
