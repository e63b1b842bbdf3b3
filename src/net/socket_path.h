/*
 * The path of a Unix socket: who has it, how a stale one is removed, and what to tell when it cannot be had.
 * Functions that can fail return -1 with errno.
 */
#ifndef ECHOD_NET_SOCKET_PATH_H
#define ECHOD_NET_SOCKET_PATH_H

#include <stddef.h>

struct endpoint;

/*
 * Keeps other processes of the same user from removing or binding the path: by a file beside it that nobody
 * else can open, which is gone again after the unlock. Never waits. The lock, or -1 (EWOULDBLOCK: somebody
 * has it; EPERM: the file is another user's).
 */
int socket_path_lock(const char *path);
void socket_path_unlock(const char *path, int lock);

/*
 * Removes the path if it is a socket that no process has open. 0 = there is nothing, or nothing any more; -1
 * with EADDRINUSE (a server lives), ENOTSOCK (it is no socket) or another error.
 */
int socket_path_clear(const struct endpoint *endpoint);

/* Whether a socket could be bound there, without a trace. 0, or -1 as above. */
int socket_path_probe(const struct endpoint *endpoint);

/* What the error of any of them, or of bind(2), means for that path, and what to do. Returns `to`. */
const char *socket_path_explain(const char *path, int error, char *to, size_t size);

#endif
