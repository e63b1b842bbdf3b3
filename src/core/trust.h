/*
 * Whether users other than root and ourselves can exchange what a path names: root must neither believe
 * such a file nor be led by its links.
 */
#ifndef ECHOD_CORE_TRUST_H
#define ECHOD_CORE_TRUST_H

#include <limits.h>
#include <stddef.h>

/* Where a path ends. */
struct trust {
	int directory; /* O_PATH, the caller's to close; relative to it: */
	char name[PATH_MAX];
	/* "" or the first directory on the way that others can write to, and how that shows. */
	char doubt[PATH_MAX + 128];
	int follow; /* for openat(): O_NOFOLLOW where others can have made the last name, else 0 */
};

/*
 * Follows an absolute path up to its last name, which need not exist. Symbolic links are followed as usual,
 * the last one too, as long as only root or ourselves can have made them; ELOOP where somebody else can.
 * 0, or -1 with errno, and the doubt if there is one.
 */
int trust_walk(const char *path, struct trust *trust);

/*
 * Whether only root and ourselves can write to a file or a directory, and exchange it. 0, or -1 with errno
 * and why; EPERM: others can.
 */
int trust_check(const char *path, char *why, size_t why_size);

#endif
