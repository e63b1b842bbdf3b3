/* Length of the key (2 bytes), length of the item (4 bytes, 0 = deletion), the key, the item. Little-endian. */
#include "kv/change.h"

#include <stdint.h>
#include <string.h>

#include "core/little_endian.h"

#define AT_ITEM_LENGTH sizeof(uint16_t)
#define CHANGE_HEADER (AT_ITEM_LENGTH + sizeof(uint32_t))

size_t change_size(const struct change *change)
{
	return CHANGE_HEADER + change->key.length +
	       (change->deletion ? 0 : item_size(&change->item));
}

void change_write(const struct change *change, unsigned char *to)
{
	le16_put(to, (uint16_t)change->key.length);
	le32_put(to + AT_ITEM_LENGTH, change->deletion ? 0 : (uint32_t)item_size(&change->item));
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
	key_length = le16_get(bytes);
	length = le32_get(bytes + AT_ITEM_LENGTH);
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
