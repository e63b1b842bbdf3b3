/* Escape sequences of C that stand for one byte: \n, \xHH and the like. */
#ifndef ECHOD_CORE_ESCAPE_H
#define ECHOD_CORE_ESCAPE_H

#include <stddef.h>

#define ESCAPE_MAX 4 /* bytes of an escape */

/* `letters` below are those of "abtnvfr" that have their meaning from C; these are all of white space. */
#define ESCAPE_SPACE "tnvfr"

/*
 * Writes the escape of a byte: \\ for a backslash; the byte's letter if that is one of `letters`; else \xHH. Returns
 * its length; there is no NUL.
 */
size_t escape_write(char byte, const char *letters, char to[ESCAPE_MAX]);

/*
 * The byte that an escape stands for; *at is behind its backslash, and in front of `end`, and is advanced behind the
 * escape. What is neither \xHH nor one of `letters` stands for itself.
 */
char escape_read(const char **at, const char *end, const char *letters);

#endif
