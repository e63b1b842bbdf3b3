/* Giving up root for good. */
#ifndef ECHOD_CORE_PRIVILEGE_H
#define ECHOD_CORE_PRIVILEGE_H

#include <stddef.h>

/*
 * Becomes the user, with its groups, and makes sure that there is no way back; then no program that this
 * process starts can gain privileges either. Does the latter only when user is NULL or we are not root.
 * 0, or -1 with errno (ENOENT: there is no such user) and `why`; the process must not go on then.
 */
int privilege_drop(const char *user, char *why, size_t why_size);

#endif
