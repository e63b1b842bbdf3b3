/* The commands about the value of a key: read, set and delete it, and count with it. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/keyspace.h"
#include "kv/verb.h"

/* --- values --- */

enum kv_status verb_get(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item;

	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	result->kind = KV_BYTES;
	result->bytes = item.value;
	return KV_OK;
}

enum kv_status verb_set(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item = { .value = call->args[0] };

	(void)result;
	return keyspace_put(keyspace, &call->key, &item) == 0 ? KV_OK : KV_FULL;
}

enum kv_status verb_del(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	(void)result;
	return keyspace_delete(keyspace, &call->key) ? KV_OK : KV_NOT_FOUND;
}

enum kv_status verb_setnx(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item;

	if (keyspace_get(keyspace, &call->key, &item))
		return KV_EXISTS;
	return verb_set(keyspace, call, result);
}

/* SETEX and PSETEX: their row has converted the time to ms. */
enum kv_status verb_setex(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	int64_t expires;

	(void)result;
	if (call->numbers[0] < 1 ||
	    __builtin_add_overflow(keyspace_now(keyspace), call->numbers[0], &expires))
		return KV_INVALID_EXPIRE;
	return verb_put(keyspace, &call->key, call->args[1], expires);
}

enum kv_status verb_getdel(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	enum kv_status status = verb_copy_value(keyspace, call, result);

	if (status == KV_OK)
		keyspace_delete(keyspace, &call->key);
	return status;
}

enum kv_status verb_getset(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	enum kv_status status = verb_copy_value(keyspace, call, result), set;

	if (status == KV_NO_MEMORY)
		return status;
	set = verb_put(keyspace, &call->key, call->args[0], 0);
	return set == KV_OK ? status : set;
}

enum kv_status verb_append(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item = { 0 };
	struct slice value = call->args[0];
	enum kv_status status;
	char *joined = NULL;

	if (keyspace_get(keyspace, &call->key, &item)) {
		value.length += item.value.length;
		if (value.length > keyspace->max_value)
			return KV_VALUE_TOO_LONG;
		joined = malloc(value.length + 1);
		if (joined == NULL)
			return KV_NO_MEMORY;
		memcpy(joined, item.value.bytes, item.value.length);
		memcpy(joined + item.value.length, call->args[0].bytes, call->args[0].length);
		value.bytes = joined;
	}
	status = verb_put(keyspace, &call->key, value, item.expires);
	free(joined);
	return status == KV_OK ? verb_integer(result, (int64_t)value.length) : status;
}

enum kv_status verb_strlen(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item;
	bool exists = keyspace_get(keyspace, &call->key, &item);

	return verb_integer(result, exists ? (int64_t)item.value.length : 0);
}

enum kv_status verb_gets(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	enum kv_status status = verb_get(keyspace, call, result);

	if (status == KV_OK) {
		result->kind = KV_DIGESTED;
		result->integer = verb_digest(result->bytes);
	}
	return status;
}

enum kv_status verb_cas(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	char hex[17];
	struct item item;

	(void)result;
	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	verb_write_digest(item.value, hex);
	if (!verb_is_word(call->args[0], hex))
		return KV_CHANGED;
	return verb_put(keyspace, &call->key, call->args[1], item.expires);
}

enum kv_status verb_delifeq(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item;

	(void)result;
	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	if (!slice_is_equal(item.value, call->args[0]))
		return KV_CHANGED;
	return keyspace_delete(keyspace, &call->key) ? KV_OK : KV_NOT_FOUND;
}

/* --- numbers --- */

enum kv_status verb_add(
    struct keyspace *keyspace, const struct table_key *key, int64_t by, struct kv_result *result)
{
	enum kv_status status = KV_OK;
	struct item item = { 0 };
	int64_t number = 0;
	char text[24];
	int length;

	if (keyspace_get(keyspace, key, &item))
		status = command_number(item.value, &number);
	if (status != KV_OK)
		return status;
	if (__builtin_add_overflow(number, by, &number))
		return KV_OVERFLOW;
	length = snprintf(text, sizeof(text), "%" PRId64, number);
	status = verb_put(keyspace, key, (struct slice){ text, (size_t)length }, item.expires);
	return status == KV_OK ? verb_integer(result, number) : status;
}

enum kv_status verb_incr(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	return verb_add(keyspace, &call->key, 1, result);
}

enum kv_status verb_decr(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	return verb_add(keyspace, &call->key, -1, result);
}

enum kv_status verb_incrby(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	return verb_add(keyspace, &call->key, call->numbers[0], result);
}

enum kv_status verb_decrby(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	int64_t by;

	if (__builtin_sub_overflow(0, call->numbers[0], &by))
		return KV_OVERFLOW;
	return verb_add(keyspace, &call->key, by, result);
}
