/*
 * The renewal of certificates: when a file of a TLS context has changed, the instance gets a new context, without a
 * reload. It also logs once a day what expires. The server owns it.
 */
#ifndef ECHOD_RENEWAL_H
#define ECHOD_RENEWAL_H

struct renewal;
struct running;

/* Looks after contexts from now on; it must not run before privileges are dropped. NULL when out of memory. */
struct renewal *renewal_new(struct running *running);
/* NULL is fine. */
void renewal_free(struct renewal *renewal);

#endif
