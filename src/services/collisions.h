/*
 * What no start could have together, found in the configuration alone: addresses that the kernel gives to one
 * socket only, and stores in one directory. No name is looked up and nothing is opened.
 */
#ifndef ECHOD_SERVICES_COLLISIONS_H
#define ECHOD_SERVICES_COLLISIONS_H

struct config;
struct inherited;
struct texts;

/*
 * Adds a mistake for each that collides with one before it. Instances that are disabled do not count, nor do the
 * addresses of those that get their sockets from the service manager; NULL = none does. 0, or -1 with mistakes.
 */
int collisions_find(
    const struct config *config, const struct inherited *inherited, struct texts *mistakes);

#endif
