/* SipHash-1-3 of Aumasson and Bernstein: one round per word, three to finish. */
#include "core/siphash.h"

#include <errno.h>
#include <sys/random.h>

#include "core/little_endian.h"

int siphash_key_random(struct siphash_key *key)
{
	ssize_t got;

	do {
		got = getrandom(key, sizeof(*key), 0);
	} while (got == -1 && errno == EINTR);
	/* A request this small is never answered in part: getrandom(2). */
	return got == -1 ? -1 : 0;
}

/* Macros, as in the authors' own code: the rounds are all there is. */
#define ROTATE(word, bits) ((word) << (bits) | (word) >> (64 - (bits)))
#define ROUND                                             \
	do {                                              \
		v0 += v1, v2 += v3;                       \
		v1 = ROTATE(v1, 13), v3 = ROTATE(v3, 16); \
		v1 ^= v0, v3 ^= v2;                       \
		v0 = ROTATE(v0, 32);                      \
		v2 += v1, v0 += v3;                       \
		v1 = ROTATE(v1, 17), v3 = ROTATE(v3, 21); \
		v1 ^= v2, v3 ^= v0;                       \
		v2 = ROTATE(v2, 32);                      \
	} while (0)

uint64_t siphash13(const struct siphash_key *key, const void *bytes, size_t length)
{
	uint64_t v0 = key->k0 ^ 0x736f6d6570736575, v1 = key->k1 ^ 0x646f72616e646f6d;
	uint64_t v2 = key->k0 ^ 0x6c7967656e657261, v3 = key->k1 ^ 0x7465646279746573;
	const uint8_t *at = bytes, *end = at + length - length % 8;
	unsigned rest = length % 8;
	uint64_t word;

	for (; at < end; at += 8) {
		word = le64_get(at);
		v3 ^= word;
		ROUND;
		v0 ^= word;
	}
	/* The last zero to seven bytes, with the length modulo 256 on top. */
	word = 0;
	if (length >= 8 && rest > 0) {
		word = le64_get(end + rest - 8) >> (64 - 8 * rest);
	} else {
		for (unsigned i = 0; i < rest; i++)
			word |= (uint64_t)at[i] << (8 * i);
	}
	word |= (uint64_t)length << 56;
	v3 ^= word;
	ROUND;
	v0 ^= word;

	v2 ^= 0xff;
	ROUND;
	ROUND;
	ROUND;
	return v0 ^ v1 ^ v2 ^ v3;
}
