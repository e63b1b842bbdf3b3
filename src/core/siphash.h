/* SipHash-1-3, the keyed hash of every table that strangers can fill. */
#ifndef ECHOD_CORE_SIPHASH_H
#define ECHOD_CORE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

struct siphash_key {
	uint64_t k0, k1;
};

/* A random key. 0, or -1 with the errno of getrandom(2). */
int siphash_key_random(struct siphash_key *key);

uint64_t siphash13(const struct siphash_key *key, const void *bytes, size_t length);

#endif
