/* A scan of the keys of a kv service, in steps. It finds each key that exists throughout, a few perhaps twice. */
#ifndef ECHOD_ECHOCTL_SCAN_H
#define ECHOD_ECHOCTL_SCAN_H

#include <stdbool.h>
#include <stddef.h>

#include "core/buffer.h"
#include "core/slice.h"

struct kv_peer;

/* Begin with { 0 }; the caller frees keys.bytes. */
struct scan {
	const char *pattern; /* NULL = all keys */
	bool over;           /* the last step has returned the last keys */
	char cursor[24];
	struct buffer keys; /* of the last step: the length of each, as a size_t, in front of it */
};

/* Asks for the next keys. 0, and `over` after the last ones; or -1 after a complaint. */
int scan_step(struct scan *scan, struct kv_peer *peer);

/* The key at *at, which is 0 for the first one, and advances *at; false behind the last one. */
bool scan_key(const struct scan *scan, size_t *at, struct slice *key);

#endif
