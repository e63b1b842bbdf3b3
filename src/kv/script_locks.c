/* What the known scripts about locks do. A lock is a key; its value is the token of the client that holds it. */
#include <stdio.h>

#include "kv/keyspace.h"
#include "kv/redis_verbs.h"
#include "kv/script.h"
#include "kv/verb.h"

static bool holds(struct keyspace *keyspace, const struct table_key *key, struct slice token)
{
	struct item item;

	return keyspace_get(keyspace, key, &item) && slice_is_equal(item.value, token);
}

static bool exists(struct keyspace *keyspace, const struct table_key *key)
{
	struct item item;

	return keyspace_get(keyspace, key, &item);
}

/* ms since 1970, of a time from now on. */
static enum kv_status read_time(
    struct keyspace *keyspace, struct slice time, int64_t scale, int64_t *expires)
{
	enum kv_status status = command_number(time, expires);

	if (status != KV_OK)
		return status;
	if (*expires <= 0 || __builtin_mul_overflow(*expires, scale, expires) ||
	    __builtin_add_overflow(*expires, keyspace_now(keyspace), expires))
		return KV_INVALID_EXPIRE;
	return KV_OK;
}

enum kv_status script_put_for(struct keyspace *keyspace, const struct table_key *key,
    struct slice value, struct slice time, int64_t scale)
{
	int64_t expires;
	enum kv_status status = read_time(keyspace, time, scale, &expires);

	return status == KV_OK ? verb_put(keyspace, key, value, expires) : status;
}

enum kv_status script_expire_in(struct keyspace *keyspace, const struct table_key *key,
    struct slice time, int64_t scale, struct kv_result *result)
{
	struct call call = { .key = *key, .arg_count = 1, .args = { time } };

	return scale == 1 ? redis_pexpire(keyspace, &call, result)
			  : redis_expire(keyspace, &call, result);
}

int64_t script_time_left(struct keyspace *keyspace, const struct table_key *key)
{
	struct item item;

	if (!keyspace_get(keyspace, key, &item))
		return -2;
	return item.expires == 0 ? -1 : item.expires - keyspace_now(keyspace);
}

/* --- token --- */

enum kv_status script_delete_or_null(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	enum kv_status status = verb_delifeq(keyspace, call, result);

	return status == KV_OK ? verb_integer(result, 1) : status;
}

enum kv_status script_delete_silently(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	verb_delifeq(keyspace, call, result);
	return KV_NOT_FOUND;
}

enum kv_status script_delete_or_missing(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	enum kv_status status = verb_delifeq(keyspace, call, result);

	return verb_integer(result, status == KV_OK ? 1 : status == KV_NOT_FOUND ? -1 : 0);
}

enum kv_status script_delete_if_not(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	(void)result;
	if (holds(keyspace, &call->key, call->args[0]))
		return KV_CHANGED;
	return keyspace_delete(keyspace, &call->key) ? KV_OK : KV_NOT_FOUND;
}

enum kv_status script_swap(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	(void)result;
	if (!holds(keyspace, &call->key, call->args[0]))
		return KV_CHANGED;
	return verb_put(keyspace, &call->key, call->args[1], 0);
}

/* --- token, time --- */

enum kv_status script_pexpire(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	if (!holds(keyspace, &call->key, call->args[0]))
		return KV_CHANGED;
	return script_expire_in(keyspace, &call->key, call->args[1], 1, result);
}

enum kv_status script_expire(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	if (!holds(keyspace, &call->key, call->args[0]))
		return KV_CHANGED;
	return script_expire_in(keyspace, &call->key, call->args[1], 1000, result);
}

enum kv_status script_pexpire_or_null(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	enum kv_status status = script_pexpire(keyspace, call, result);

	return status == KV_OK ? verb_integer(result, 1) : status;
}

enum kv_status script_expire_value(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	enum kv_status status = script_expire(keyspace, call, result);

	if (status == KV_OK) {
		result->kind = KV_BYTES;
		result->bytes = call->args[0];
	}
	return status;
}

/* With "0" as the third argument, the time is added to what is left. */
enum kv_status script_extend(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	int64_t left = script_time_left(keyspace, &call->key), sum;
	enum kv_status status;
	char text[24];
	int length;

	if (left < 0 || !holds(keyspace, &call->key, call->args[0]))
		return KV_CHANGED;
	if (!slice_is_equal(call->args[2], (struct slice){ "0", 1 }))
		return script_expire_in(keyspace, &call->key, call->args[1], 1, result);
	status = command_number(call->args[1], &sum);
	if (status != KV_OK)
		return status;
	if (__builtin_add_overflow(sum, left, &sum))
		return KV_INVALID_EXPIRE;
	length = snprintf(text, sizeof(text), "%lld", (long long)sum);
	return script_expire_in(
	    keyspace, &call->key, (struct slice){ text, (size_t)length }, 1, result);
}

enum kv_status script_pttl(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	bool held = holds(keyspace, &call->key, call->args[0]);

	return verb_integer(result, held ? script_time_left(keyspace, &call->key) : -3);
}

/* Takes the lock if it is free, and lets it expire anew if the client holds it. */
static enum kv_status obtain(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	if (!exists(keyspace, &call->key))
		return script_put_for(keyspace, &call->key, call->args[0], call->args[1], 1);
	return script_pexpire(keyspace, call, result);
}

/* The lock of another client; an invalid time is an error nevertheless, as SET with NX has it. */
static enum kv_status refuse(struct keyspace *keyspace, const struct call *call)
{
	int64_t expires;
	enum kv_status status = read_time(keyspace, call->args[1], 1, &expires);

	return status == KV_OK ? KV_EXISTS : status;
}

enum kv_status script_obtain(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	enum kv_status status = obtain(keyspace, call, result);

	return status == KV_CHANGED ? refuse(keyspace, call) : status;
}

enum kv_status script_obtain_or_null(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	enum kv_status status = obtain(keyspace, call, result);

	return status == KV_OK ? verb_integer(result, 1) : status;
}

/* OK is a string if the client has held the lock, else the status. */
enum kv_status script_obtain_ok(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	bool held = holds(keyspace, &call->key, call->args[0]);

	if (!held && exists(keyspace, &call->key))
		return refuse(keyspace, call);
	if (held) {
		result->kind = KV_BYTES;
		result->bytes = (struct slice){ "OK", 2 };
	}
	return script_put_for(keyspace, &call->key, call->args[0], call->args[1], 1);
}

/* A third argument "yes" allows it to take a free lock. */
enum kv_status script_lock(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	bool free = !exists(keyspace, &call->key);

	(void)result;
	if (free ? !slice_is_equal(call->args[2], (struct slice){ "yes", 3 })
		 : !holds(keyspace, &call->key, call->args[0]))
		return KV_NOT_FOUND;
	return script_put_for(keyspace, &call->key, call->args[0], call->args[1], 1);
}

/* Without a time, 0, the lock does not expire. A third argument "true" is that of a client that waits for its turn. */
enum kv_status script_claim(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct slice token = call->args[0], time = call->args[1];
	bool waits = slice_is_equal(call->args[2], (struct slice){ "true", 4 });
	enum kv_status status;
	int64_t seconds;

	(void)result;
	if (exists(keyspace, &call->key) &&
	    (waits || slice_is_equal(token, (struct slice){ "*", 1 }) ||
		!holds(keyspace, &call->key, token)))
		return KV_EXISTS;
	status = command_number(time, &seconds);
	if (status != KV_OK)
		return status;
	return seconds > 0 ? script_put_for(keyspace, &call->key, token, time, 1000)
			   : verb_put(keyspace, &call->key, token, 0);
}

/* The time, then the token; 0 unless the client holds the lock. */
enum kv_status script_touch(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	if (!holds(keyspace, &call->key, call->args[1]))
		return verb_integer(result, 0);
	return script_put_for(keyspace, &call->key, call->args[1], call->args[0], 1);
}

/* --- many keys --- */

static size_t key_count(const struct call *call)
{
	return 1 + call->more_count;
}

static struct table_key key_at(const struct keyspace *keyspace, const struct call *call, size_t n)
{
	return n == 0 ? call->key : keyspace_key(keyspace, call->more[n - 1]);
}

/* Name, seconds, token: takes the first free key; its number, from 1 on, behind the name. */
enum kv_status script_slot(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct slice name = call->args[0];
	char text[512];
	int length;

	for (size_t n = 0; n < key_count(call); n++) {
		struct table_key key = key_at(keyspace, call, n);
		enum kv_status status;

		if (exists(keyspace, &key))
			continue;
		if (name.length > sizeof(text) - 24)
			return KV_VALUE_TOO_LONG;
		status = script_put_for(keyspace, &key, call->args[2], call->args[1], 1000);
		if (status != KV_OK)
			return status;
		length =
		    snprintf(text, sizeof(text), "%.*s%zu", (int)name.length, name.bytes, n + 1);
		return verb_copy_bytes(keyspace, (struct slice){ text, (size_t)length }, result);
	}
	return KV_NOT_FOUND;
}

/* Sets all keys; how many. If memory runs out, those that are new are deleted again. */
static enum kv_status put_all(
    struct keyspace *keyspace, const struct call *call, bool new, struct kv_result *result)
{
	enum kv_status status = KV_OK;

	for (size_t n = 0; n < key_count(call) && status == KV_OK; n++) {
		struct table_key key = key_at(keyspace, call, n);

		status = script_put_for(keyspace, &key, call->args[0], call->args[1], 1);
		for (size_t i = 0; i < n && status != KV_OK && new; i++) {
			key = key_at(keyspace, call, i);
			keyspace_delete(keyspace, &key);
		}
	}
	return status == KV_OK ? verb_integer(result, (int64_t)key_count(call)) : status;
}

enum kv_status script_acquire_all(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	for (size_t n = 0; n < key_count(call); n++) {
		struct table_key key = key_at(keyspace, call, n);

		if (exists(keyspace, &key))
			return verb_integer(result, 0);
	}
	return put_all(keyspace, call, true, result);
}

enum kv_status script_extend_all(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	for (size_t n = 0; n < key_count(call); n++) {
		struct table_key key = key_at(keyspace, call, n);

		if (!holds(keyspace, &key, call->args[0]))
			return verb_integer(result, 0);
	}
	return put_all(keyspace, call, false, result);
}

enum kv_status script_release_all(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	int64_t released = 0;

	for (size_t n = 0; n < key_count(call) && keyspace->refusal == KV_OK; n++) {
		struct table_key key = key_at(keyspace, call, n);

		released += holds(keyspace, &key, call->args[0]) && keyspace_delete(keyspace, &key);
	}
	return verb_integer(result, released);
}

/* The same of a library that gives the number of the database first; there is only 0. */
static struct call without_database(const struct call *call)
{
	struct call rest = *call;

	for (size_t i = 1; i < call->arg_count; i++)
		rest.args[i - 1] = call->args[i];
	rest.arg_count--;
	return rest;
}

enum kv_status script_acquire_all_of(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct call rest = without_database(call);

	return script_acquire_all(keyspace, &rest, result);
}

enum kv_status script_extend_all_of(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct call rest = without_database(call);

	return script_extend_all(keyspace, &rest, result);
}

enum kv_status script_release_all_of(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct call rest = without_database(call);

	return script_release_all(keyspace, &rest, result);
}
