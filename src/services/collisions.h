/*
 * Finds what no start can have together, from the configuration alone: addresses that the kernel does not let two
 * sockets bind, and stores in the same directory. Looks up no names and opens nothing.
 */
#ifndef ECHOD_SERVICES_COLLISIONS_H
#define ECHOD_SERVICES_COLLISIONS_H

struct config;
struct inherited;
struct strings;

/*
 * Adds a mistake for each address or store that collides with an earlier one. Ignores disabled instances, and the
 * addresses of those that get their sockets from the service manager (NULL = none does). 0, or -1 with mistakes.
 */
int collisions_find(
    const struct config *config, const struct inherited *inherited, struct strings *errors);

#endif
