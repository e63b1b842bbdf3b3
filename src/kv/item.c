/* An encoded item is a byte of flags, the time of expiry (8 bytes, little-endian) if the flags say so, and the value. */
#include "kv/item.h"

#include <string.h>

#include "core/little_endian.h"

#define ITEM_EXPIRES 1u /* flags */

size_t item_size(const struct item *item)
{
	return 1 + (item->expires != 0 ? sizeof(uint64_t) : 0) + item->value.length;
}

unsigned char *item_write(const struct item *item, unsigned char *to)
{
	*to++ = item->expires != 0 ? ITEM_EXPIRES : 0;
	if (item->expires != 0) {
		le64_put(to, (uint64_t)item->expires);
		to += sizeof(uint64_t);
	}
	if (item->value.length > 0)
		memcpy(to, item->value.bytes, item->value.length);
	return to + item->value.length;
}

int item_read(struct item *item, const unsigned char *bytes, size_t length)
{
	size_t header = 1;

	if (length < 1 || (bytes[0] & ~ITEM_EXPIRES) != 0)
		return -1;
	item->expires = 0;
	if (bytes[0] & ITEM_EXPIRES) {
		if (length < header + sizeof(uint64_t))
			return -1;
		item->expires = (int64_t)le64_get(bytes + header);
		header += sizeof(uint64_t);
	}
	item->value = (struct slice){ (const char *)bytes + header, length - header };
	return 0;
}
