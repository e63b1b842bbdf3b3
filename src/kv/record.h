/*
 * The bytes that the journal keeps: changes in a row behind a checksum. A record is what one commit, or a
 * part of one, has changed. Numbers are little-endian.
 */
#ifndef ECHOD_KV_RECORD_H
#define ECHOD_KV_RECORD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes of a record in front of its changes. */
#define RECORD_HEADER sizeof(uint64_t)

/* A key's new value, or its deletion. */
struct change {
	const void *key, *value;
	size_t key_length, value_length;
	bool deletion;
};

/* What change_write() will write, bytes. */
size_t change_size(const struct change *change);
void change_write(const struct change *change, unsigned char *to);

/*
 * Reads the change at *at and goes behind it: 1, or 0 at the end, or -1 if the bytes are none. It points
 * into the bytes.
 */
int change_read(struct change *change, const unsigned char **at, const unsigned char *end);

/* Puts the checksum in front of the changes. */
void record_add_checksum(unsigned char *record, size_t length);
/* Whether the checksum is that of the changes. */
bool record_is_valid(const unsigned char *record, size_t length);

/* The checksum of a value that is kept by itself, under its key. */
uint32_t value_checksum(const void *key, size_t key_length, const void *value, size_t value_length);

#endif
