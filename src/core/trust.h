/*
 * Whether users other than root and our own can replace what a path names. Root must not trust such a file, nor
 * follow links that those users could have created.
 */
#ifndef ECHOD_CORE_TRUST_H
#define ECHOD_CORE_TRUST_H

#include <limits.h>

struct error;

/* Where a path ends. */
struct trust {
	int directory; /* O_PATH, the caller's to close; relative to it: */
	char name[PATH_MAX];
	/* The first directory on the path that other users can write to, with its owner and mode; "" = none. */
	char doubt[PATH_MAX + 128];
	int follow; /* for openat(): O_NOFOLLOW if other users could have created the last name, else 0 */
};

/*
 * Follows an absolute path up to its last name, which need not exist. Follows symbolic links, the last one too, that
 * only root or we could have created, and fails with ELOOP at others. 0, or -1 with errno and the doubt, if there
 * is one.
 */
int trust_walk(const char *path, struct trust *trust);

/*
 * Checks that only root and our own user can write to a file or directory, or replace it. 0, or -1 with an
 * error; EPERM: other users can.
 */
int trust_check(const char *path, struct error *error);

#endif
