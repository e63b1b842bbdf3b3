/* "did you mean": the known name that a misspelt one is nearest to. */
#ifndef ECHOD_CORE_SUGGEST_H
#define ECHOD_CORE_SUGGEST_H

#include <stddef.h>

/* Start with { .name = what was written }, offer every known name, and read `best`. */
struct suggestion {
	const char *name;
	const char *best; /* NULL while nothing is near */
	size_t distance;  /* of the best one: letters to change, add, drop or swap */
};

void suggest_offer(struct suggestion *suggestion, const char *known);

/* The nearest of NULL-terminated names, or NULL when none is near. */
const char *suggest_name(const char *name, const char *const *names);

#endif
