/*
 * An item: what the store keeps for a key, which is a value and the time at which it expires. This file alone knows
 * how an item is encoded on the disk.
 */
#ifndef ECHOD_KV_ITEM_H
#define ECHOD_KV_ITEM_H

#include <stddef.h>
#include <stdint.h>

#include "core/slice.h"

struct item {
	struct slice value;
	int64_t expires; /* ms since 1970, wall-clock; 0 = never */
};

/* What item_write() will write, bytes. */
size_t item_size(const struct item *item);

/* Returns the byte behind what it has written. */
unsigned char *item_write(const struct item *item, unsigned char *to);

/* The item points into the bytes. 0, or -1: they are no item. */
int item_read(struct item *item, const unsigned char *bytes, size_t length);

#endif
