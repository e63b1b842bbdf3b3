/* The list grows by doubling; its capacity is the next power of two of its count. */
#include "core/strings.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int strings_adopt(struct strings *strings, char *text)
{
	bool full = (strings->count & (strings->count - 1)) == 0;
	size_t capacity = strings->count == 0 ? 1 : strings->count * 2;
	char **items = strings->items;

	if (text != NULL && full)
		items = reallocarray(items, capacity, sizeof(*items));
	if (text == NULL || items == NULL) {
		free(text);
		strings->lost = true;
		return -1;
	}
	strings->items = items;
	strings->items[strings->count++] = text;
	return 0;
}

int strings_add(struct strings *strings, const char *text)
{
	return strings_adopt(strings, strdup(text));
}

int strings_addf(struct strings *strings, const char *format, ...)
{
	va_list args;
	char *text;
	int n;

	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	return strings_adopt(strings, n < 0 ? NULL : text);
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

void strings_clear(struct strings *strings)
{
	for (size_t i = 0; i < strings->count; i++)
		free(strings->items[i]);
	free(strings->items);
	*strings = (struct strings){ 0 };
}
