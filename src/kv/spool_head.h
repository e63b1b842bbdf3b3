/*
 * The header in front of each record of the spool. Its checksum includes the key of the file, which no client knows.
 * A replay therefore cannot mistake bytes of a value, or of an earlier use of the file, for a header.
 */
#ifndef ECHOD_KV_SPOOL_HEAD_H
#define ECHOD_KV_SPOOL_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/siphash.h"

#define SPOOL_HEAD_SIZE 32 /* bytes */

struct spool_head {
	uint64_t number; /* of the batch */
	uint32_t part;   /* the record's place in it */
	bool is_last;
	uint64_t length; /* of the record */
};

/* Writes it in front of the checksummed record, which stands behind it already. */
void spool_head_write(
    unsigned char *to, const struct spool_head *head, const struct siphash_key *key);

/* Reads it; false when that many bytes do not begin with one and its record. */
bool spool_head_read(
    struct spool_head *head, const unsigned char *from, size_t left, const struct siphash_key *key);

#endif
