/* An item is its kind and the length of its bytes, as they are in memory, and the bytes. */
#include "kv/list.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_CAPACITY ((size_t)1 << 10)
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
	size_t capacity = list->capacity == 0 ? FIRST_CAPACITY : list->capacity;
	unsigned char *memory;

	while (capacity - list->length < size)
		capacity *= 2;
	if (capacity != list->capacity) {
		if ((memory = realloc(list->memory, capacity)) == NULL)
			return -1;
		list->memory = memory;
		list->capacity = capacity;
	}
	memory = list->memory + at;
	memmove(memory + size, memory, list->length - at);
	memcpy(memory, &header, sizeof(header));
	if (bytes.length > 0)
		memcpy(memory + sizeof(header), bytes.bytes, bytes.length);
	list->length += size;
	list->count++;
	return 0;
}

int list_add(struct list *list, enum kv_kind kind, struct slice bytes)
{
	return insert(list, list->length, kind, bytes);
}

int list_add_first(struct list *list, enum kv_kind kind, struct slice bytes)
{
	return insert(list, 0, kind, bytes);
}

bool list_next(const struct list *list, size_t *at, struct list_item *item)
{
	struct header header;

	if (*at == list->length)
		return false;
	memcpy(&header, list->memory + *at, sizeof(header));
	item->kind = header.kind;
	item->bytes =
	    (struct slice){ (const char *)list->memory + *at + sizeof(header), header.length };
	*at += sizeof(header) + header.length;
	return true;
}

void list_clear(struct list *list)
{
	if (list->capacity > KEPT_CAPACITY)
		list_free(list);
	list->length = list->count = 0;
}

void list_free(struct list *list)
{
	free(list->memory);
	*list = (struct list){ 0 };
}
