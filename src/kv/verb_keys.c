/* The commands about keys: their expiry, which of them exist, and other names for them. */
#include "kv/keyspace.h"
#include "kv/verb.h"

/* --- expiry --- */

enum kv_status verb_set_expiry(struct keyspace *keyspace, const struct table_key *key,
    const struct item *item, int64_t expires)
{
	const struct item changed = { item->value, expires };

	if (expires <= keyspace_now(keyspace))
		return keyspace_delete(keyspace, key) ? KV_OK : KV_NOT_FOUND;
	return keyspace_put(keyspace, key, &changed) == 0 ? KV_OK : KV_FULL;
}

static enum kv_status set_expiry(
    struct keyspace *keyspace, const struct table_key *key, int64_t expires)
{
	struct item item;

	if (!keyspace_get(keyspace, key, &item))
		return KV_NOT_FOUND;
	return verb_set_expiry(keyspace, key, &item, expires);
}

/* EXPIRE and PEXPIRE. */
enum kv_status verb_expire(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	int64_t expires;

	(void)result;
	if (__builtin_add_overflow(keyspace_now(keyspace), call->numbers[0], &expires))
		return KV_INVALID_EXPIRE;
	return set_expiry(keyspace, &call->key, expires);
}

enum kv_status verb_expireat(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	(void)result;
	return set_expiry(keyspace, &call->key, call->numbers[0]);
}

enum kv_status verb_persist(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item;

	(void)result;
	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	if (item.expires == 0)
		return KV_OK;
	item.expires = 0;
	return keyspace_put(keyspace, &call->key, &item) == 0 ? KV_OK : KV_FULL;
}

enum kv_status verb_pttl(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item;

	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	if (item.expires == 0)
		return KV_NEVER;
	return verb_integer(result, item.expires - keyspace_now(keyspace));
}

enum kv_status verb_ttl(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	enum kv_status status = verb_pttl(keyspace, call, result);

	return status == KV_OK ? verb_seconds(result, result->integer) : status;
}

/* --- keys --- */

enum kv_status verb_exists(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct table_key keys[VERB_GROUP];
	int64_t exist = 0;
	size_t count;

	for (size_t n = 0; n <= call->more_count; n += count) {
		count = verb_prepare_keys(keyspace, call, n, keys);
		for (size_t i = 0; i < count; i++) {
			struct item item;

			exist += keyspace_get(keyspace, &keys[i], &item);
		}
	}
	return verb_integer(result, exist);
}

enum kv_status verb_type(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item;

	return verb_text(result, keyspace_get(keyspace, &call->key, &item) ? "string" : "none");
}

enum kv_status verb_rename(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct table_key to = keyspace_key(keyspace, call->args[0]);
	struct item item;

	(void)result;
	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	if (slice_is_equal((struct slice){ call->key.bytes, call->key.length }, call->args[0]))
		return KV_OK;
	return keyspace_rename(keyspace, &call->key, &item, &to) == 0 ? KV_OK : KV_FULL;
}

enum kv_status verb_copy(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct table_key to = keyspace_key(keyspace, call->args[0]);
	struct item item;
	/* First: if this key has expired, it is deleted, which would invalidate the item of the other one. */
	bool exists = keyspace_get(keyspace, &to, &item);

	(void)result;
	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	if (exists)
		return KV_EXISTS;
	return keyspace_put(keyspace, &to, &item) == 0 ? KV_OK : KV_FULL;
}

enum kv_status verb_dbsize(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	(void)call;
	return verb_integer(result, (int64_t)keyspace_count(keyspace));
}
