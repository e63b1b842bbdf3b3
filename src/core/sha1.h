/*
 * SHA-1 (RFC 3174). Clients of Redis name their scripts by it, so nothing here rests on its strength; no library that is
 * linked has it.
 */
#ifndef ECHOD_CORE_SHA1_H
#define ECHOD_CORE_SHA1_H

#include <stddef.h>
#include <stdint.h>

#define SHA1_DIGITS 40 /* in hexadecimal */

struct sha1 {
	uint32_t state[5];
	uint64_t length; /* bytes so far */
	unsigned char block[64];
};

void sha1_begin(struct sha1 *sha1);
void sha1_add(struct sha1 *sha1, const void *bytes, size_t length);
/* Writes the digits, in small letters and without a NUL. */
void sha1_end(struct sha1 *sha1, char digits[SHA1_DIGITS]);

#endif
