/* A list of strings, each one allocated: paths, arguments, lines for a report. */
#ifndef ECHOD_CORE_STRINGS_H
#define ECHOD_CORE_STRINGS_H

#include <stdbool.h>
#include <stddef.h>

/* Zeroed = empty. The strings stay where they are when the list grows. */
struct strings {
	char **items;
	size_t count;
	bool lost; /* something could not be added: out of memory */
};

/* Appends a copy. 0, or -1 with errno ENOMEM and the list as it was. */
int strings_add(struct strings *strings, const char *text);
int strings_addf(struct strings *strings, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The same with a string that was allocated: the list takes it over, or frees it. NULL counts as lost, too. */
int strings_adopt(struct strings *strings, char *text);

/* Appends copies of all of another list; what that has lost, this one has, too. */
void strings_append(struct strings *strings, const struct strings *more);

/* The list's own copy of an equal string, or NULL. */
const char *strings_find(const struct strings *strings, const char *text);

void strings_clear(struct strings *strings);

#endif
