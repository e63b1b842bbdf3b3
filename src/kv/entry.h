/*
 * An entry: a key and its item in one piece of memory, which its user allocates.
 *
 *     key length * 2, + 1 if it expires     varint
 *     value length                          varint
 *     time of expiry, as in an item         8 bytes, only if it expires
 *     key, value
 *
 * A varint has seven bits in a byte, the low ones first; the high bit says that another byte follows (LEB128). So short
 * keys and values have two bytes of lengths.
 */
#ifndef ECHOD_KV_ENTRY_H
#define ECHOD_KV_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/slice.h"
#include "kv/item.h"

struct entry; /* has no alignment */

/* Bytes of an entry, and of what is in front of its key. */
size_t entry_size(struct slice key, const struct item *item);
size_t entry_header_size(struct slice key, const struct item *item);

/* The bytes of key and item may not be the entry's own. */
void entry_write(struct entry *entry, struct slice key, const struct item *item);

/* Exchanges the item for one that makes the header no longer or shorter; its value may be part of the old one. */
void entry_write_item(struct entry *entry, const struct item *item);

static inline const uint8_t *varint_read(const uint8_t *at, uint32_t *number)
{
	uint32_t byte = *at++;

	*number = byte & 0x7f;
	for (unsigned shift = 7; (byte & 0x80) != 0; shift += 7) {
		byte = *at++;
		*number |= (byte & 0x7f) << shift;
	}
	return at;
}

/* Both point into the entry. */
static inline void entry_read(const struct entry *entry, struct slice *key, struct item *item)
{
	uint32_t key_field, value_length;
	const uint8_t *at = varint_read((const uint8_t *)entry, &key_field);

	at = varint_read(at, &value_length);
	item->expires = 0;
	if (key_field & 1) {
		memcpy(&item->expires, at, sizeof(item->expires));
		at += sizeof(item->expires);
	}
	*key = (struct slice){ (const char *)at, key_field >> 1 };
	item->value = (struct slice){ key->bytes + key->length, value_length };
}

/* Whether it is the entry of that key; *item may be set even if not. */
static inline bool entry_has_key(const struct entry *entry, struct slice key, struct item *item)
{
	struct slice own;

	entry_read(entry, &own, item);
	return slice_is_equal(own, key);
}

#endif
