/* "did you mean": the known name that a misspelt one is nearest to. */
#ifndef ECHOD_CORE_NEAREST_H
#define ECHOD_CORE_NEAREST_H

#include <stddef.h>

/* Start with { .name = what was written }, offer every known name, and read `best`. */
struct nearest {
	const char *name;
	const char *best; /* NULL while nothing is near */
	size_t distance;  /* of the best one: letters to change, add, drop or swap */
};

void nearest_offer(struct nearest *nearest, const char *known);

/* The nearest of NULL-terminated names, or NULL when none is near. */
const char *nearest_name(const char *name, const char *const *names);

#endif
