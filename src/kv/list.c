/* An item is its kind and the length of its bytes, as they are in memory, and the bytes. */
#include "kv/list.h"

#include <stdlib.h>
#include <string.h>

#define KEPT_CAPACITY ((size_t)64 << 10)

struct header {
	enum kv_kind kind;
	size_t length;
};

/* Inserts an item in front of the one at `at`. 0, or -1 when out of memory. */
static int insert(struct list *list, size_t at, enum kv_kind kind, struct slice bytes)
{
	struct header header = { .kind = kind, .length = bytes.length };
	size_t size = sizeof(header) + bytes.length;
	char *to;

	if (buffer_room(&list->items, size) == NULL)
		return -1;
	to = list->items.bytes + at;
	memmove(to + size, to, list->items.length - at);
	memcpy(to, &header, sizeof(header));
	if (bytes.length > 0)
		memcpy(to + sizeof(header), bytes.bytes, bytes.length);
	list->items.length += size;
	list->count++;
	return 0;
}

int list_add(struct list *list, enum kv_kind kind, struct slice bytes)
{
	return insert(list, list->items.length, kind, bytes);
}

int list_add_first(struct list *list, enum kv_kind kind, struct slice bytes)
{
	return insert(list, 0, kind, bytes);
}

bool list_next(const struct list *list, size_t *at, struct list_item *item)
{
	struct header header;

	if (*at == list->items.length)
		return false;
	memcpy(&header, list->items.bytes + *at, sizeof(header));
	item->kind = header.kind;
	item->bytes = (struct slice){ list->items.bytes + *at + sizeof(header), header.length };
	*at += sizeof(header) + header.length;
	return true;
}

void list_clear(struct list *list)
{
	if (list->items.capacity > KEPT_CAPACITY)
		list_free(list);
	list->items.length = list->count = 0;
}

void list_free(struct list *list)
{
	free(list->items.bytes);
	*list = (struct list){ 0 };
}
