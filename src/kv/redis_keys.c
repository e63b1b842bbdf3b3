/* Commands of Redis about keys: expiry with its options, many keys at once, all keys, and information about a key. */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "kv/keyspace.h"
#include "kv/redis_verbs.h"
#include "kv/verb.h"

#define FLUSHED_KEYS 512  /* in one turn */
#define ENTRY_OVERHEAD 24 /* bytes that a key takes besides itself and its value, about */

static struct slice key_bytes(const struct table_key *key)
{
	return (struct slice){ key->bytes, key->length };
}

/* --- expiry --- */

struct expire_options {
	bool never, ever, later, sooner; /* NX, XX, GT, LT */
};

static enum kv_status read_expire_options(struct keyspace *keyspace, const struct call *call,
    struct expire_options *o, struct kv_result *result)
{
	for (size_t n = 0; n < call->more_count; n++) {
		struct slice word = call->more[n];

		if (verb_is_word(word, "NX")) {
			o->never = true;
		} else if (verb_is_word(word, "XX")) {
			o->ever = true;
		} else if (verb_is_word(word, "GT")) {
			o->later = true;
		} else if (verb_is_word(word, "LT")) {
			o->sooner = true;
		} else {
			static const char text[] = "Unsupported option ";
			char copy[sizeof(text) + 128];
			int length = snprintf(copy, sizeof(copy), "%s%.*s", text,
			    (int)(word.length > 128 ? 128 : word.length), word.bytes);

			return verb_copy_bytes(keyspace, (struct slice){ copy, (size_t)length },
				   result) == KV_OK
				   ? KV_INVALID
				   : KV_NO_MEMORY;
		}
	}
	if (o->never && (o->ever || o->later || o->sooner))
		return redis_refuse(
		    result, "NX and XX, GT or LT options at the same time are not compatible");
	if (o->later && o->sooner)
		return redis_refuse(
		    result, "GT and LT options at the same time are not compatible");
	return KV_OK;
}

/* A key without an expiry lives longest. */
static bool expiry_allowed(const struct expire_options *o, int64_t before, int64_t expires)
{
	return !(o->never && before != 0) && !(o->ever && before == 0) &&
	       !(o->later && (before == 0 || expires <= before)) &&
	       !(o->sooner && before != 0 && expires >= before);
}

/* Reads the time in units of `scale` ms, from now or since 1970, behind the options: their errors come first. */
static enum kv_status set_expiry(struct keyspace *keyspace, const struct call *call, int64_t scale,
    bool from_now, struct kv_result *result)
{
	struct expire_options o = { false };
	enum kv_status status = read_expire_options(keyspace, call, &o, result);
	struct item item;
	int64_t expires;

	if (status == KV_OK)
		status = command_number(call->args[0], &expires);
	if (status != KV_OK)
		return status;
	if (__builtin_mul_overflow(expires, scale, &expires) ||
	    (from_now && __builtin_add_overflow(keyspace_now(keyspace), expires, &expires)))
		return KV_INVALID_EXPIRE;
	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	if (!expiry_allowed(&o, item.expires, expires))
		return KV_CHANGED;
	return verb_set_expiry(keyspace, &call->key, &item, expires);
}

enum kv_status redis_expire(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	return set_expiry(keyspace, call, 1000, true, result);
}

enum kv_status redis_pexpire(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	return set_expiry(keyspace, call, 1, true, result);
}

enum kv_status redis_expireat(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	return set_expiry(keyspace, call, 1000, false, result);
}

enum kv_status redis_pexpireat(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	return set_expiry(keyspace, call, 1, false, result);
}

enum kv_status redis_persist(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item;

	(void)result;
	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	if (item.expires == 0)
		return KV_NEVER;
	item.expires = 0;
	return keyspace_put(keyspace, &call->key, &item) == 0 ? KV_OK : KV_FULL;
}

enum kv_status redis_pexpiretime(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item;

	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	return item.expires == 0 ? KV_NEVER : verb_integer(result, item.expires);
}

enum kv_status redis_expiretime(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	enum kv_status status = redis_pexpiretime(keyspace, call, result);

	return status == KV_OK ? verb_seconds(result, result->integer) : status;
}

/* --- keys --- */

/* DEL and UNLINK. */
enum kv_status redis_del(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct table_key keys[VERB_GROUP];
	int64_t deleted = 0;
	size_t count;

	for (size_t n = 0; n <= call->more_count; n += count) {
		count = verb_prepare_keys(keyspace, call, n, keys);
		for (size_t i = 0; i < count && keyspace->refusal == KV_OK; i++)
			deleted += keyspace_delete(keyspace, &keys[i]);
	}
	return verb_integer(result, deleted);
}

enum kv_status redis_renamenx(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct table_key to = keyspace_key(keyspace, call->args[0]);
	struct item item;
	/* First: if this key has expired, it is deleted, which would invalidate the item of the other one. */
	bool exists = keyspace_get(keyspace, &to, &item);

	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	if (exists)
		return verb_integer(result, 0);
	if (keyspace_rename(keyspace, &call->key, &item, &to) == -1)
		return KV_FULL;
	return verb_integer(result, 1);
}

enum kv_status redis_copy(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct table_key to = keyspace_key(keyspace, call->args[0]);
	bool replace = false, exists;
	enum kv_status status;
	struct item item;

	for (size_t n = 0; n < call->more_count; n++) {
		int64_t database;

		if (verb_is_word(call->more[n], "REPLACE")) {
			replace = true;
		} else if (verb_is_word(call->more[n], "DB") && n + 1 < call->more_count) {
			status = command_number(call->more[++n], &database);
			if (status != KV_OK)
				return status;
			if (database != 0)
				return redis_refuse(result, "DB index is out of range");
		} else {
			return redis_refuse_syntax(result);
		}
	}
	if (slice_is_equal(key_bytes(&call->key), call->args[0]))
		return redis_refuse(result, "source and destination objects are the same");
	exists = keyspace_get(keyspace, &to, &item);
	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	if (exists && !replace)
		return KV_EXISTS;
	return keyspace_put(keyspace, &to, &item) == 0 ? KV_OK : KV_FULL;
}

enum kv_status redis_scan(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct slice none = { "[]", 2 }; /* matches no key */
	const struct slice *pattern = NULL;
	int64_t count = VERB_PAGE;
	enum kv_status status;
	uint64_t cursor;

	if (verb_cursor(call->args[0], &cursor) != KV_OK)
		return redis_refuse(result, "invalid cursor");
	for (size_t n = 0; n < call->more_count; n += 2) {
		struct slice word = call->more[n];
		const struct slice *value = &call->more[n + 1];

		if (n + 1 == call->more_count)
			return redis_refuse_syntax(result);
		if (verb_is_word(word, "MATCH")) {
			if (value->length > PATTERN_MAX)
				return KV_PATTERN_TOO_LONG;
			if (pattern != &none)
				pattern = value;
		} else if (verb_is_word(word, "COUNT")) {
			status = command_number(*value, &count);
			if (status != KV_OK)
				return status;
			if (count < 1)
				return redis_refuse_syntax(result);
		} else if (!verb_is_word(word, "TYPE")) {
			return redis_refuse_syntax(result);
		} else if (!verb_is_word(*value, "string")) {
			pattern = &none; /* there are no others */
		}
	}
	return verb_page(keyspace, call, cursor, pattern, count, result);
}

/* Keys that a scan has found. */
struct found {
	struct list *list;
	bool failed; /* out of memory */
};

static int add_key(void *arg, const struct slice *key, const struct item *item)
{
	struct found *found = arg;

	(void)item;
	found->failed |= list_add(found->list, KV_KEY, *key) == -1;
	return 0;
}

/* A key of the first bucket that has one, from a random bucket on. */
enum kv_status redis_randomkey(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct found found = { .list = keyspace_list(keyspace) };
	uint64_t random, cursor;
	struct list_item item;
	size_t chosen, at = 0;
	int rounds = 0; /* from the bucket to the end of the table, then from its beginning */

	(void)call;
	if (getrandom(&random, sizeof(random), 0) != sizeof(random))
		return KV_NO_MEMORY;
	cursor = random;
	do {
		cursor = keyspace_scan(keyspace, cursor, add_key, &found);
		rounds += cursor == 0;
	} while (found.list->count == 0 && !found.failed && rounds < 2);
	if (found.list->count == 0)
		return found.failed ? KV_NO_MEMORY : KV_NOT_FOUND;
	chosen = (size_t)(random >> 32) % found.list->count;
	for (size_t i = 0; i <= chosen; i++)
		list_next(found.list, &at, &item);
	result->kind = KV_KEY;
	result->bytes = item.bytes;
	return KV_OK;
}

/* FLUSHDB and FLUSHALL: delete a part in each turn; in between, other clients see the keys that are left. */
enum kv_status redis_flush(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	uint64_t cursor = call->from;
	size_t visits = 0;

	if (call->arg_count > 0 && !verb_is_word(call->args[0], "SYNC") &&
	    !verb_is_word(call->args[0], "ASYNC"))
		return redis_refuse_syntax(result);
	do {
		struct found found = { .list = keyspace_list(keyspace) };
		struct list_item item;
		size_t at = 0;

		cursor = keyspace_scan(keyspace, cursor, add_key, &found);
		if (found.failed)
			return KV_NO_MEMORY;
		visits += 1 + found.list->count;
		while (list_next(found.list, &at, &item)) {
			struct table_key key = keyspace_key(keyspace, item.bytes);

			keyspace_delete(keyspace, &key);
			if (keyspace->refusal != KV_OK)
				return keyspace->refusal;
		}
	} while (cursor != 0 && (visits < FLUSHED_KEYS || keyspace->in_transaction));
	result->next = cursor;
	return KV_OK;
}

/* --- about keys --- */

static const char *encoding_of(struct slice value)
{
	int64_t number;

	if (value.length <= 20 && command_number(value, &number) == KV_OK)
		return "int";
	return value.length <= 44 ? "embstr" : "raw";
}

enum kv_status redis_object(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct table_key key = keyspace_key(keyspace, call->args[1]);
	struct slice what = call->args[0];
	struct item item;

	if (!verb_has_subcommand(call->command, what))
		return KV_UNKNOWN;
	if (!keyspace_get(keyspace, &key, &item))
		return KV_NOT_FOUND;
	if (verb_is_word(what, "ENCODING")) {
		verb_text(result, encoding_of(item.value));
		result->kind = KV_BYTES;
		return KV_OK;
	}
	if (verb_is_word(what, "FREQ"))
		return redis_refuse(result,
		    "An LFU maxmemory policy is not selected, access frequency not tracked. "
		    "Please note that when switching between policies at runtime LRU and LFU "
		    "data will take some time to adjust.");
	/* IDLETIME is 0: the table does not store when a key was used. */
	return verb_integer(result, verb_is_word(what, "REFCOUNT"));
}

enum kv_status redis_memory(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct table_key key = keyspace_key(keyspace, call->args[1]);
	struct item item;

	if (!verb_has_subcommand(call->command, call->args[0]))
		return KV_UNKNOWN;
	if (call->more_count != 0 &&
	    (call->more_count != 2 || !verb_is_word(call->more[0], "SAMPLES")))
		return redis_refuse_syntax(result);
	if (!keyspace_get(keyspace, &key, &item))
		return KV_NOT_FOUND;
	return verb_integer(result, (int64_t)(ENTRY_OVERHEAD + key.length + item.value.length));
}
