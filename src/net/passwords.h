/*
 * Passwords of clients, checked in one thread beside the loop, because a check takes up to half a second. A password
 * that was right is remembered until the process ends, by a digest under a random key, so that the next connection of the
 * same client does not wait. Those that wait to be checked are limited, in all and for each source, so that a flood of
 * wrong ones keeps no other client from its login for long.
 */
#ifndef ECHOD_NET_PASSWORDS_H
#define ECHOD_NET_PASSWORDS_H

#include <stdbool.h>

#include "core/slice.h"

struct loop;
struct password_check;
struct passwords;
struct peer;

#define PASSWORDS_WAITING 64   /* in all */
#define PASSWORDS_PER_SOURCE 4 /* of an IPv4 address or an IPv6 /56 */
#define PASSWORDS_LOCAL 16     /* of all Unix sockets */
#define PASSWORDS_KNOWN 1024

/* The thread starts with the first check. NULL with errno. */
struct passwords *passwords_new(struct loop *loop);
/* No check is left. Does not wait for the thread. NULL is fine. */
void passwords_free(struct passwords *passwords);

/* Whether it was found to match the hash before. */
bool passwords_know(const struct passwords *passwords, const char *hash, struct slice password);

/*
 * Checks the password against the hash, both of which are copied, and then calls `done`, in a later turn of the loop. The
 * peer is whom it comes from. NULL with errno: EBUSY = too many wait already, or that of thread_start() or malloc(3).
 */
struct password_check *passwords_check(struct passwords *passwords, const char *hash,
    struct slice password, const struct peer *peer, void (*done)(void *arg, bool matches),
    void *arg);
/* `done` is not called, and the check is no more. */
void passwords_cancel(struct passwords *passwords, struct password_check *check);

#endif
