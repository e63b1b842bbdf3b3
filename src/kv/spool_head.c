/* Seal, number, part, 1 in the last part, length: little-endian. The seal covers the record's checksum, too. */
#include "kv/spool_head.h"

#include <endian.h>
#include <string.h>

#include "kv/record.h"

struct stored {
	uint64_t seal, number;
	uint32_t part, is_last;
	uint64_t length;
};
_Static_assert(sizeof(struct stored) == SPOOL_HEAD_SIZE, "it has gaps");

/* Old bytes behind a new head would have another checksum. */
static uint64_t seal_of(const unsigned char *head, const struct siphash_key *key)
{
	size_t unsealed = sizeof(uint64_t);

	return siphash13(key, head + unsealed, SPOOL_HEAD_SIZE - unsealed + RECORD_HEADER);
}

void spool_head_write(
    unsigned char *to, const struct spool_head *head, const struct siphash_key *key)
{
	struct stored stored = {
		.number = htole64(head->number),
		.part = htole32(head->part),
		.is_last = htole32(head->is_last),
		.length = htole64(head->length),
	};

	memcpy(to, &stored, sizeof(stored));
	stored.seal = htole64(seal_of(to, key));
	memcpy(to, &stored.seal, sizeof(stored.seal));
}

bool spool_head_read(
    struct spool_head *head, const unsigned char *from, size_t left, const struct siphash_key *key)
{
	struct stored stored;

	if (left < SPOOL_HEAD_SIZE + RECORD_HEADER)
		return false;
	memcpy(&stored, from, sizeof(stored));
	*head = (struct spool_head){
		.number = le64toh(stored.number),
		.part = le32toh(stored.part),
		.is_last = le32toh(stored.is_last) == 1,
		.length = le64toh(stored.length),
	};
	return head->length >= RECORD_HEADER && head->length <= left - SPOOL_HEAD_SIZE &&
	       le64toh(stored.seal) == seal_of(from, key) &&
	       record_is_valid(from + SPOOL_HEAD_SIZE, head->length);
}
