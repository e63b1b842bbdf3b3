/* The list grows by doubling; its capacity is the next power of two of its count. */
#include "core/texts.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int make_room(struct texts *texts)
{
	bool full = (texts->count & (texts->count - 1)) == 0;
	size_t capacity = texts->count == 0 ? 1 : texts->count * 2;
	char **items;

	if (!full)
		return 0;
	items = reallocarray(texts->items, capacity, sizeof(*items));
	if (items == NULL)
		return -1;
	texts->items = items;
	return 0;
}

/* Takes the string over, or frees it; NULL = there was no memory for it. */
static int append(struct texts *texts, char *text)
{
	if (text == NULL || make_room(texts) == -1) {
		free(text);
		texts->lost = true;
		return -1;
	}
	texts->items[texts->count++] = text;
	return 0;
}

int texts_add(struct texts *texts, const char *text)
{
	return append(texts, strdup(text));
}

int texts_addf(struct texts *texts, const char *format, ...)
{
	va_list args;
	char *text;
	int n;

	va_start(args, format);
	n = vasprintf(&text, format, args);
	va_end(args);
	return append(texts, n < 0 ? NULL : text);
}

void texts_append(struct texts *texts, const struct texts *more)
{
	size_t i = 0;

	while (i < more->count && texts_add(texts, more->items[i]) == 0)
		i++;
	texts->lost |= more->lost;
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
