/* The steps that several commands have in common. */
#include "kv/verb.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <xxhash.h>

#include "kv/keyspace.h"

bool verb_is_word(struct slice word, const char *name)
{
	return word.length == strlen(name) && strncasecmp(word.bytes, name, word.length) == 0;
}

bool verb_has_subcommand(const struct command *command, struct slice name)
{
	for (const struct subcommand *row = command->within; row->name != NULL; row++)
		if (verb_is_word(name, row->name))
			return true;
	return false;
}

int64_t verb_digest(struct slice value)
{
	return (int64_t)XXH3_64bits(value.bytes, value.length);
}

void verb_write_digest(struct slice value, char hex[17])
{
	snprintf(hex, 17, "%016" PRIx64, (uint64_t)verb_digest(value));
}

/* --- with the keyspace --- */

enum kv_status verb_put(
    struct keyspace *keyspace, const struct table_key *key, struct slice value, int64_t expires)
{
	const struct item item = { value, expires };

	if (value.length > keyspace->max_value)
		return KV_VALUE_TOO_LONG;
	return keyspace_put(keyspace, key, &item) == 0 ? KV_OK : KV_FULL;
}

size_t verb_prepare_keys(const struct keyspace *keyspace, const struct call *call, size_t n,
    struct table_key keys[VERB_GROUP])
{
	size_t left = 1 + call->more_count - n, count = left < VERB_GROUP ? left : VERB_GROUP;

	for (size_t i = 0; i < count; i++, n++)
		keys[i] = keyspace_key(
		    keyspace, n > 0 ? call->more[n - 1]
				    : (struct slice){ call->key.bytes, call->key.length });
	for (size_t i = 0; i < count; i++)
		table_prefetch_entry(keyspace->table, &keys[i]);
	return count;
}

/* --- results --- */

enum kv_status verb_text(struct kv_result *result, const char *text)
{
	result->kind = KV_TEXT;
	result->bytes = (struct slice){ text, strlen(text) };
	return KV_OK;
}

enum kv_status verb_integer(struct kv_result *result, int64_t number)
{
	result->kind = KV_INTEGER;
	result->integer = number;
	return KV_OK;
}

enum kv_status verb_seconds(struct kv_result *result, int64_t ms)
{
	return verb_integer(result, ms / 1000 + (ms % 1000 >= 500));
}

enum kv_status verb_list(const struct list *list, struct kv_result *result)
{
	result->kind = KV_LIST;
	result->list = list;
	result->integer = (int64_t)list->count;
	return KV_OK;
}

enum kv_status verb_copy_bytes(
    struct keyspace *keyspace, struct slice bytes, struct kv_result *result)
{
	struct list *list = keyspace_list(keyspace);
	struct list_item copy;
	size_t at = 0;

	if (list_add(list, KV_BYTES, bytes) == -1)
		return KV_NO_MEMORY;
	list_next(list, &at, &copy);
	result->kind = KV_BYTES;
	result->bytes = copy.bytes;
	return KV_OK;
}

enum kv_status verb_copy_value(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item;

	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	return verb_copy_bytes(keyspace, item.value, result);
}
