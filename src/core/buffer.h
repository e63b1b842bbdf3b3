/* A buffer that grows: bytes one behind the other in one block of memory, whose length is not known before the end. */
#ifndef ECHOD_CORE_BUFFER_H
#define ECHOD_CORE_BUFFER_H

#include <stddef.h>

/* Zeroed = empty. The owner frees `bytes`. */
struct buffer {
	char *bytes;
	size_t length, capacity;
};

/* 0, or -1 with errno ENOMEM and the buffer as it was. */
int buffer_grow(struct buffer *buffer, size_t more);

/*
 * The place behind the last byte, with room for so many more, at least one; the caller adds to `length` what it has
 * written there. NULL with errno ENOMEM, and the buffer as it was.
 */
static inline void *buffer_room(struct buffer *buffer, size_t more)
{
	if (buffer->capacity - buffer->length < more && buffer_grow(buffer, more) == -1)
		return NULL;
	return buffer->bytes + buffer->length;
}

/* Appends a copy. 0, or -1 with errno ENOMEM and the buffer as it was. */
int buffer_add(struct buffer *buffer, const void *bytes, size_t length);

#endif
