/* A list of strings, each one allocated: paths, arguments, lines for a report. */
#ifndef ECHOD_CORE_TEXTS_H
#define ECHOD_CORE_TEXTS_H

#include <stdbool.h>
#include <stddef.h>

/* Zeroed = empty. The strings stay where they are when the list grows. */
struct texts {
	char **items;
	size_t count;
	bool lost; /* something could not be added: out of memory */
};

/* Appends a copy. 0, or -1 with errno ENOMEM and the list as it was. */
int texts_add(struct texts *texts, const char *text);
int texts_addf(struct texts *texts, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Appends copies of all of another list; what that has lost, this one has, too. */
void texts_append(struct texts *texts, const struct texts *more);

/* The list's own copy of an equal string, or NULL. */
const char *texts_find(const struct texts *texts, const char *text);

/* The same, and when there is none it is added. NULL with errno ENOMEM. */
const char *texts_intern(struct texts *texts, const char *text);

void texts_clear(struct texts *texts);

#endif
