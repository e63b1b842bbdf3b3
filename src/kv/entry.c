/* Writing an entry. The reading functions are inline in the header, because every lookup calls them. */
#include "kv/entry.h"

static size_t varint_size(uint32_t number)
{
	size_t size = 1;

	while ((number >>= 7) != 0)
		size++;
	return size;
}

static uint8_t *varint_write(uint8_t *at, uint32_t number)
{
	for (; number > 0x7f; number >>= 7)
		*at++ = (uint8_t)(number | 0x80);
	*at++ = (uint8_t)number;
	return at;
}

static uint32_t key_field(size_t key_length, const struct item *item)
{
	return (uint32_t)key_length << 1 | (item->expires != 0);
}

size_t entry_header_size(struct slice key, const struct item *item)
{
	return varint_size(key_field(key.length, item)) +
	       varint_size((uint32_t)item->value.length) +
	       (item->expires != 0 ? sizeof(item->expires) : 0);
}

size_t entry_size(struct slice key, const struct item *item)
{
	return entry_header_size(key, item) + key.length + item->value.length;
}

/* Returns the place of the key. */
static uint8_t *header_write(struct entry *entry, size_t key_length, const struct item *item)
{
	uint8_t *at = varint_write((uint8_t *)entry, key_field(key_length, item));

	at = varint_write(at, (uint32_t)item->value.length);
	if (item->expires != 0) {
		memcpy(at, &item->expires, sizeof(item->expires));
		at += sizeof(item->expires);
	}
	return at;
}

void entry_write(struct entry *entry, struct slice key, const struct item *item)
{
	uint8_t *at = header_write(entry, key.length, item);

	if (key.length > 0)
		memcpy(at, key.bytes, key.length);
	if (item->value.length > 0)
		memcpy(at + key.length, item->value.bytes, item->value.length);
}

void entry_write_item(struct entry *entry, const struct item *item)
{
	struct slice key;
	struct item old;

	entry_read(entry, &key, &old);
	header_write(entry, key.length, item);
	if (item->value.length > 0)
		memmove((uint8_t *)entry + (old.value.bytes - (const char *)entry),
		    item->value.bytes, item->value.length);
}
