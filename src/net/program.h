/* What a program is started with: the file that its name means, and its environment. */
#ifndef ECHOD_NET_PROGRAM_H
#define ECHOD_NET_PROGRAM_H

#include <stddef.h>

struct stream;
struct strings;

/*
 * The executable of that name: a path stays as it is, a plain name is looked up as a shell would,
 * in a fixed list of directories. 0, or -1 with errno.
 */
int program_find(const char *name, char *path, size_t size);

/*
 * Adds PATH, SERVICE and, for the client, REMOTE_ADDR, REMOTE_PORT, LOCAL_ADDR and LOCAL_PORT; a
 * Unix socket has no ports. 0, or -1 with errno.
 */
int program_environment(struct strings *to, struct stream *client);

#endif
