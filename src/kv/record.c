/* A change is: length of the value (all ones = a deletion), length of the key, the key, the value. */
#include "kv/record.h"

#include <endian.h>
#include <string.h>

#include "core/siphash.h"

#define DELETION UINT32_MAX
#define CHANGE_HEADER (sizeof(uint32_t) + sizeof(uint16_t))

/* Against rotten disks, not against forgery: whoever can write the file needs no key. */
static const struct siphash_key checksum_key = { 0x6563686f642d6b76, 1 };

size_t change_size(const struct change *change)
{
	return CHANGE_HEADER + change->key_length + change->value_length;
}

static unsigned char *put(unsigned char *to, const void *bytes, size_t length)
{
	if (length > 0)
		memcpy(to, bytes, length);
	return to + length;
}

void change_write(const struct change *change, unsigned char *to)
{
	uint32_t value_length =
	    htole32(change->deletion ? DELETION : (uint32_t)change->value_length);
	uint16_t key_length = htole16((uint16_t)change->key_length);

	to = put(to, &value_length, sizeof(value_length));
	to = put(to, &key_length, sizeof(key_length));
	to = put(to, change->key, change->key_length);
	put(to, change->value, change->value_length);
}

int change_read(struct change *change, const unsigned char **at, const unsigned char *end)
{
	const unsigned char *from = *at;
	size_t left = (size_t)(end - from);
	uint32_t value_length;
	uint16_t key_length;

	if (left == 0)
		return 0;
	if (left < CHANGE_HEADER)
		return -1;
	memcpy(&value_length, from, sizeof(value_length));
	memcpy(&key_length, from + sizeof(value_length), sizeof(key_length));
	*change = (struct change){ .key = from + CHANGE_HEADER, .key_length = le16toh(key_length) };
	change->deletion = le32toh(value_length) == DELETION;
	change->value_length = change->deletion ? 0 : le32toh(value_length);
	change->value = from + CHANGE_HEADER + change->key_length;
	if (left - CHANGE_HEADER < change->key_length ||
	    left - CHANGE_HEADER - change->key_length < change->value_length)
		return -1;
	*at = from + change_size(change);
	return 1;
}

static uint64_t record_checksum(const unsigned char *record, size_t length)
{
	return htole64(siphash13(&checksum_key, record + RECORD_HEADER, length - RECORD_HEADER));
}

void record_add_checksum(unsigned char *record, size_t length)
{
	uint64_t checksum = record_checksum(record, length);

	memcpy(record, &checksum, sizeof(checksum));
}

bool record_is_valid(const unsigned char *record, size_t length)
{
	uint64_t checksum;

	if (length < RECORD_HEADER)
		return false;
	memcpy(&checksum, record, sizeof(checksum));
	return checksum == record_checksum(record, length);
}

uint32_t value_checksum(const void *key, size_t key_length, const void *value, size_t value_length)
{
	struct siphash_key keyed = checksum_key;

	keyed.k1 = siphash13(&checksum_key, key, key_length);
	return (uint32_t)siphash13(&keyed, value, value_length);
}
