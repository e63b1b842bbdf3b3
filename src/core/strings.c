/* The list grows by doubling; its capacity is the next power of two of its count. */
#include "core/strings.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int make_room(struct strings *strings)
{
	bool full = (strings->count & (strings->count - 1)) == 0;
	size_t capacity = strings->count == 0 ? 1 : strings->count * 2;
	char **items;

	if (!full)
		return 0;
	items = reallocarray(strings->items, capacity, sizeof(*items));
	if (items == NULL)
		return -1;
	strings->items = items;
	return 0;
}

/* Takes the string over, or frees it; NULL = there was no memory for it. */
static int append(struct strings *strings, char *text)
{
	if (text == NULL || make_room(strings) == -1) {
		free(text);
		strings->lost = true;
		return -1;
	}
	strings->items[strings->count++] = text;
	return 0;
}

int strings_add(struct strings *strings, const char *text)
{
	return append(strings, strdup(text));
}

int strings_addf(struct strings *strings, const char *format, ...)
{
	va_list args;
	char *text;
	int n;

	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	return append(strings, n < 0 ? NULL : text);
}

void strings_append(struct strings *strings, const struct strings *more)
{
	size_t i = 0;

	while (i < more->count && strings_add(strings, more->items[i]) == 0)
		i++;
	strings->lost |= more->lost;
}

const char *strings_find(const struct strings *strings, const char *text)
{
	for (size_t i = 0; i < strings->count; i++)
		if (strcmp(strings->items[i], text) == 0)
			return strings->items[i];
	return NULL;
}

const char *strings_intern(struct strings *strings, const char *text)
{
	const char *own = strings_find(strings, text);

	if (own != NULL)
		return own;
	return strings_add(strings, text) == 0 ? strings->items[strings->count - 1] : NULL;
}

void strings_clear(struct strings *strings)
{
	for (size_t i = 0; i < strings->count; i++)
		free(strings->items[i]);
	free(strings->items);
	*strings = (struct strings){ 0 };
}
