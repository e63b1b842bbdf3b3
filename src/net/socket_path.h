/*
 * The path of a Unix socket: locks it, finds out whether a process has it open, removes a stale one, and explains
 * why it cannot be bound. Functions that can fail return -1 with errno.
 */
#ifndef ECHOD_NET_SOCKET_PATH_H
#define ECHOD_NET_SOCKET_PATH_H

#include <stddef.h>

struct endpoint;

/*
 * Keeps other processes of the same user from removing or binding the path, by a lock on a file beside it that no
 * other user can open; socket_path_unlock() removes the file. Never waits. Returns the lock's descriptor, or -1
 * (EWOULDBLOCK: another process holds the lock; EPERM: the file belongs to another user).
 */
int socket_path_lock(const char *path);
void socket_path_unlock(const char *path, int lock);

/*
 * Removes the path if it is a socket that no process has open. 0 = nothing is at the path now; -1 with EADDRINUSE
 * (a process has it open), ENOTSOCK (the path is not a socket) or another error.
 */
int socket_path_clear(const struct endpoint *endpoint);

/* Whether a socket could be bound there; changes nothing. 0, or -1 as above. */
int socket_path_probe(const struct endpoint *endpoint);

/* Writes what an error of these functions or of bind(2) means for the path, and what to do. Returns `to`. */
const char *socket_path_explain(const char *path, int error, char *to, size_t size);

#endif
