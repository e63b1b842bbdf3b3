/* A block of 64 bytes at a time, as RFC 3174 describes it in section 6.1. */
#include "core/sha1.h"

#include <string.h>

static uint32_t rotate(uint32_t word, int bits)
{
	return word << bits | word >> (32 - bits);
}

static void add_block(struct sha1 *sha1)
{
	static const uint32_t constants[] = { 0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6 };
	uint32_t w[80], a = sha1->state[0], b = sha1->state[1], c = sha1->state[2];
	uint32_t d = sha1->state[3], e = sha1->state[4];

	for (int t = 0; t < 16; t++) {
		const unsigned char *at = sha1->block + 4 * t;

		w[t] = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
	}
	for (int t = 16; t < 80; t++)
		w[t] = rotate(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
	for (int t = 0; t < 80; t++) {
		uint32_t f = t < 20              ? (b & c) | (~b & d)
			     : t >= 40 && t < 60 ? (b & c) | (b & d) | (c & d)
						 : b ^ c ^ d;
		uint32_t next = rotate(a, 5) + f + e + w[t] + constants[t / 20];

		e = d;
		d = c;
		c = rotate(b, 30);
		b = a;
		a = next;
	}
	sha1->state[0] += a;
	sha1->state[1] += b;
	sha1->state[2] += c;
	sha1->state[3] += d;
	sha1->state[4] += e;
}

void sha1_begin(struct sha1 *sha1)
{
	*sha1 = (struct sha1){ .state = {
				   0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0 } };
}

void sha1_add(struct sha1 *sha1, const void *bytes, size_t length)
{
	const char *from = bytes;

	while (length > 0) {
		size_t filled = sha1->length % sizeof(sha1->block);
		size_t room = sizeof(sha1->block) - filled, piece = length < room ? length : room;

		memcpy(sha1->block + filled, from, piece);
		sha1->length += piece;
		from += piece;
		length -= piece;
		if (piece == room)
			add_block(sha1);
	}
}

void sha1_end(struct sha1 *sha1, char digits[SHA1_DIGITS])
{
	static const unsigned char padding[64] = { 0x80 };
	static const char hex[] = "0123456789abcdef";
	uint64_t bits = 8 * sha1->length;
	unsigned char length[8];

	for (int i = 0; i < 8; i++)
		length[i] = (unsigned char)(bits >> (56 - 8 * i));
	sha1_add(sha1, padding, 1 + (119 - sha1->length % 64) % 64);
	sha1_add(sha1, length, sizeof(length));
	for (int i = 0; i < SHA1_DIGITS; i++)
		digits[i] = hex[sha1->state[i / 8] >> (28 - 4 * (i % 8)) & 15];
}
