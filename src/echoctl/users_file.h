/*
 * The users file of a kv service: lines NAME:HASH:RIGHTS:PATTERNS, comments that begin with #, and blank lines. One line
 * of it is changed or added here; all else stays as it is, to the byte.
 */
#ifndef ECHOD_ECHOCTL_USERS_FILE_H
#define ECHOD_ECHOCTL_USERS_FILE_H

#include <stdbool.h>

#define USER_NAME_MAX 64 /* bytes */
#define USERS_DEFAULT_RIGHTS "rw"
#define USERS_DEFAULT_PATTERNS "*"

struct users_change {
	const char *name, *hash;
	const char *rights, *patterns; /* NULL = those of the line, or the defaults of a new one */
	bool added;   /* there was no line of that name; set by users_file_change() */
	bool created; /* there was no file */
};

/* Whether they can be parts of a line. Without a complaint. */
bool users_file_is_name(const char *name);
bool users_file_are_rights(const char *rights);
bool users_file_are_patterns(const char *patterns);

/*
 * Checks, before a password is asked for, that the file can probably be changed. 0, or -1 after a complaint.
 */
int users_file_check(const char *path, const char *name);

/*
 * Changes or adds the line of the name, and replaces the file by one that has the same owner, group and mode. Whoever
 * changes it at the same time waits. Returns when it is on the disk. 0, or -1 after a complaint, with the file as it
 * was.
 */
int users_file_change(const char *path, struct users_change *change);

#endif
