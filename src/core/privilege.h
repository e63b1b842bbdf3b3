/* Giving up root for good. */
#ifndef ECHOD_CORE_PRIVILEGE_H
#define ECHOD_CORE_PRIVILEGE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* Whether we are root, or were before privilege_drop(). */
bool privilege_was_root(void);

/* The user's ids. 0, or -1 with errno (ENOENT: there is no such user) and why. */
int privilege_ids(const char *user, uid_t *uid, gid_t *gid, char *why, size_t why_size);

/*
 * From now on, no program that this process starts can gain privileges, and no process of the same user can read
 * its memory. Must be called before there are threads, because each has the flag for itself. 0, or -1 with errno and
 * why.
 */
int privilege_seal(char *why, size_t why_size);

/*
 * Becomes the user, with its groups, and makes sure that there is no way back. Does nothing when user is
 * NULL or we are not root. 0, or -1 with errno (ENOENT: there is no such user) and why; the process must
 * not go on then.
 */
int privilege_drop(const char *user, char *why, size_t why_size);

/*
 * Root acts as the user until privilege_return(): what is opened and made meanwhile is what the user may
 * open, and belongs to it. Does nothing when user is NULL or we are not root. 0, or -1 as above.
 */
int privilege_lend(const char *user, char *why, size_t why_size);
/* Leaves the process if it fails, for nothing may go on as somebody else than it takes itself for. */
void privilege_return(void);

#endif
