/* Length of the key (2 bytes), length of the item (4 bytes, 0 = deletion), the key, the item. Little-endian. */
#include "kv/change.h"

#include <endian.h>
#include <stdint.h>
#include <string.h>

#define CHANGE_HEADER (sizeof(uint16_t) + sizeof(uint32_t))

size_t change_size(const struct change *change)
{
	return CHANGE_HEADER + change->key.length +
	       (change->deletion ? 0 : item_size(&change->item));
}

void change_write(const struct change *change, unsigned char *to)
{
	uint16_t key_length = htole16((uint16_t)change->key.length);
	uint32_t length = change->deletion ? 0 : htole32((uint32_t)item_size(&change->item));

	memcpy(to, &key_length, sizeof(key_length));
	memcpy(to + sizeof(key_length), &length, sizeof(length));
	to += CHANGE_HEADER;
	if (change->key.length > 0)
		memcpy(to, change->key.bytes, change->key.length);
	if (!change->deletion)
		item_write(&change->item, to + change->key.length);
}

int change_read(struct change *change, const unsigned char **at, const unsigned char *end)
{
	const unsigned char *bytes = *at;
	size_t left = (size_t)(end - bytes);
	uint16_t key_length;
	uint32_t length;

	if (left == 0)
		return 0;
	if (left < CHANGE_HEADER)
		return -1;
	memcpy(&key_length, bytes, sizeof(key_length));
	memcpy(&length, bytes + sizeof(key_length), sizeof(length));
	key_length = le16toh(key_length);
	length = le32toh(length);
	bytes += CHANGE_HEADER;
	left -= CHANGE_HEADER;
	if (left < key_length || left - key_length < length)
		return -1;
	*change =
	    (struct change){ .key = { (const char *)bytes, key_length }, .deletion = length == 0 };
	if (length > 0 && item_read(&change->item, bytes + key_length, length) == -1)
		return -1;
	*at = bytes + key_length + length;
	return 1;
}
