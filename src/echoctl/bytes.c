/* realloc(3) moves a large block by its pages, without a copy: growing takes no memory twice. */
#include "echoctl/bytes.h"

#include <stdlib.h>
#include <string.h>

char *bytes_room(struct bytes *bytes, size_t more)
{
	size_t size = bytes->size;
	char *at;

	while (size - bytes->length < more)
		size = size + size / 2 + 4096;
	if (size != bytes->size) {
		if ((at = realloc(bytes->at, size)) == NULL)
			return NULL;
		bytes->at = at;
		bytes->size = size;
	}
	return bytes->at + bytes->length;
}

int bytes_add(struct bytes *bytes, const void *from, size_t length)
{
	char *to = bytes_room(bytes, length + 1);

	if (to == NULL)
		return -1;
	memcpy(to, from, length);
	bytes->length += length;
	return 0;
}
