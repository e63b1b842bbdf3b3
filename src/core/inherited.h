/*
 * Sockets that the service manager has opened for us, each with a name (socket activation). Owns each
 * descriptor until a listener takes it over.
 */
#ifndef ECHOD_CORE_INHERITED_H
#define ECHOD_CORE_INHERITED_H

#include <stdbool.h>
#include <stddef.h>

struct inherited_socket {
	char *name;
	int fd; /* close-on-exec; -1 = taken over */
};

struct inherited {
	struct inherited_socket *items;
	size_t count;
};

/*
 * Takes what was passed to this very process and removes it from the environment. 0, or -1 with errno
 * (EINVAL: the environment makes no sense).
 */
int inherited_acquire(struct inherited *to);

/* Closes the descriptors that no instance has adopted. */
void inherited_clear(struct inherited *inherited);

/* Whether any of them has that name. */
bool inherited_has(const struct inherited *inherited, const char *name);

#endif
