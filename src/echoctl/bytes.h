/* A buffer that grows, for values and keys whose length is not known before the last byte has arrived. */
#ifndef ECHOD_ECHOCTL_BYTES_H
#define ECHOD_ECHOCTL_BYTES_H

#include <stddef.h>

/* Zeroed = empty. The caller frees `at`. */
struct bytes {
	char *at;
	size_t length, size;
};

/*
 * The place behind the last byte, with room for so many more; the caller adds to `length` what it has written there.
 * NULL with errno ENOMEM, and the bytes as they were.
 */
char *bytes_room(struct bytes *bytes, size_t more);

/* Appends a copy. 0, or -1 with errno ENOMEM and the bytes as they were. */
int bytes_add(struct bytes *bytes, const void *from, size_t length);

#endif
