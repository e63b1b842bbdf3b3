/*
 * The list that a command returns: items one behind the other in one block of memory, each with a copy of its bytes.
 * Zeroed = empty. It owns its memory.
 */
#ifndef ECHOD_KV_LIST_H
#define ECHOD_KV_LIST_H

#include <stdbool.h>
#include <stddef.h>

#include "core/buffer.h"
#include "core/slice.h"
#include "kv/command.h"

struct list {
	struct buffer items;
	size_t count;
};

struct list_item {
	enum kv_kind
	    kind; /* KV_NOTHING = there is no such key; KV_INTEGER has the digits as bytes */
	struct slice bytes;
};

/* 0, or -1 when out of memory. */
int list_add(struct list *list, enum kv_kind kind, struct slice bytes);
/* The same, in front of the others. */
int list_add_first(struct list *list, enum kv_kind kind, struct slice bytes);

/* The item at *at, which is 0 for the first one, and advances *at; valid until the list changes. false at the end. */
bool list_next(const struct list *list, size_t *at, struct list_item *item);

/* Empties it. A block that was large is freed. */
void list_clear(struct list *list);
void list_free(struct list *list);

#endif
