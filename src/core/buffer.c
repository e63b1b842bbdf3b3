/*
 * The capacity is a power of two. realloc(3) moves a large block by its pages, without a copy, and what has not been
 * written takes no memory: growing takes no memory twice.
 */
#include "core/buffer.h"

#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY ((size_t)4 << 10)

int buffer_grow(struct buffer *buffer, size_t more)
{
	size_t capacity = buffer->capacity == 0 ? FIRST_CAPACITY : buffer->capacity;
	char *bytes;

	while (capacity - buffer->length < more) {
		if (capacity > SIZE_MAX / 2) {
			errno = ENOMEM;
			return -1;
		}
		capacity *= 2;
	}
	if ((bytes = realloc(buffer->bytes, capacity)) == NULL)
		return -1;
	buffer->bytes = bytes;
	buffer->capacity = capacity;
	return 0;
}

int buffer_add(struct buffer *buffer, const void *bytes, size_t length)
{
	void *to;

	if (length == 0)
		return 0;
	if ((to = buffer_room(buffer, length)) == NULL)
		return -1;
	memcpy(to, bytes, length);
	buffer->length += length;
	return 0;
}
