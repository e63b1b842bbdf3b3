/* The list grows by doubling; its capacity is the next power of two of its count. */
#include "core/texts.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Takes the string over, or frees it. */
static int append(struct texts *texts, char *text)
{
	bool full = (texts->count & (texts->count - 1)) == 0;
	char **items = texts->items;

	if (full) {
		size_t capacity = texts->count == 0 ? 1 : texts->count * 2;

		items = reallocarray(texts->items, capacity, sizeof(*items));
		if (items == NULL) {
			free(text);
			return -1;
		}
		texts->items = items;
	}
	items[texts->count++] = text;
	return 0;
}

int texts_add(struct texts *texts, const char *text)
{
	char *copy = strdup(text);

	return copy == NULL ? -1 : append(texts, copy);
}

int texts_addf(struct texts *texts, const char *format, ...)
{
	va_list args;
	char *text;
	int n;

	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	return n < 0 ? -1 : append(texts, text);
}

const char *texts_find(const struct texts *texts, const char *text)
{
	for (size_t i = 0; i < texts->count; i++)
		if (strcmp(texts->items[i], text) == 0)
			return texts->items[i];
	return NULL;
}

const char *texts_intern(struct texts *texts, const char *text)
{
	const char *own = texts_find(texts, text);

	if (own != NULL)
		return own;
	return texts_add(texts, text) == 0 ? texts->items[texts->count - 1] : NULL;
}

void texts_clear(struct texts *texts)
{
	for (size_t i = 0; i < texts->count; i++)
		free(texts->items[i]);
	free(texts->items);
	*texts = (struct texts){ 0 };
}
