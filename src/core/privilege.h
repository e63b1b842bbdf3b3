/* Root's privileges: given up for good, or put aside for a moment. */
#ifndef ECHOD_CORE_PRIVILEGE_H
#define ECHOD_CORE_PRIVILEGE_H

#include <stdbool.h>
#include <sys/types.h>

struct error;

/* Whether we are root, or were before privilege_drop(). */
bool privilege_was_root(void);

/* The user's ids. 0, or -1 with an error (ENOENT: there is no such user). */
int privilege_ids(const char *user, uid_t *uid, gid_t *gid, struct error *error);

/*
 * From now on, no program that this process starts can gain privileges, and no process of the same user can read
 * its memory. Must be called before there are threads, because each has the flag for itself. 0, or -1 with an error.
 */
int privilege_seal(struct error *error);

/*
 * Becomes the user, with its groups, and makes sure that there is no way back. Does nothing when user is
 * NULL or we are not root. 0, or -1 with an error (ENOENT: there is no such user); the process must
 * not go on then.
 */
int privilege_drop(const char *user, struct error *error);

/*
 * Root acts as the user until privilege_return(): what is opened and made meanwhile is what the user may
 * open, and belongs to it. Does nothing when user is NULL or we are not root. 0, or -1 as above.
 *
 * The calls change the identity of all threads, so no thread that opens files may run between them or before
 * privilege_drop(). The loop starts such threads, and it runs only after privilege_drop(); from then on, and if root has
 * no user to become, these calls do nothing.
 */
int privilege_lend(const char *user, struct error *error);
/* Aborts if it fails: the process must not go on as another user than it believes to be. */
void privilege_return(void);

#endif
