/* A change of one key: a new item, or its deletion. Changes in a row are what a frame of the WAL holds. */
#ifndef ECHOD_KV_CHANGE_H
#define ECHOD_KV_CHANGE_H

#include <stdbool.h>
#include <stddef.h>

#include "core/slice.h"
#include "kv/item.h"

struct change {
	struct slice key;
	struct item item; /* unless it is a deletion */
	bool deletion;
};

/* What change_write() will write, bytes. */
size_t change_size(const struct change *change);
void change_write(const struct change *change, unsigned char *to);

/*
 * Reads the change at *at and advances *at behind it: 1, or 0 at the end, or -1: the bytes are no change. It points
 * into the bytes.
 */
int change_read(struct change *change, const unsigned char **at, const unsigned char *end);

#endif
