/*
 * What the known scripts about counters do, most of them of rate limiters: a key counts the requests of a client in a
 * window of time, and expires with the window. They reply the count and the ms that are left.
 */
#include <inttypes.h>
#include <stdio.h>

#include "kv/keyspace.h"
#include "kv/script.h"
#include "kv/verb.h"

#define SAFE_MAX (((int64_t)1 << 53) - 1) /* the largest integer of JavaScript */

static int add_number(struct list *list, int64_t number)
{
	char text[24];
	int length = snprintf(text, sizeof(text), "%" PRId64, number);

	return list_add(list, KV_INTEGER, (struct slice){ text, (size_t)length });
}

static enum kv_status reply_pair(
    struct keyspace *keyspace, int64_t count, int64_t ms, struct kv_result *result)
{
	struct list *list = keyspace_list(keyspace);

	if (add_number(list, count) == -1 || add_number(list, ms) == -1)
		return KV_NO_MEMORY;
	return verb_list(list, result);
}

static bool is_true(struct slice word)
{
	return slice_is_equal(word, (struct slice){ "true", 4 });
}

static enum kv_status add_word(
    struct keyspace *keyspace, const struct call *call, bool negative, struct kv_result *result)
{
	int64_t by;
	enum kv_status status = command_number(call->args[0], &by);

	if (status != KV_OK)
		return status;
	if (negative && __builtin_sub_overflow(0, by, &by))
		return KV_OVERFLOW;
	return verb_add(keyspace, &call->key, by, result);
}

/* --- caches --- */

/* The value, then the seconds. */
enum kv_status script_add(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item;

	(void)result;
	if (keyspace_get(keyspace, &call->key, &item))
		return KV_EXISTS;
	return script_put_for(keyspace, &call->key, call->args[0], call->args[1], 1000);
}

enum kv_status script_incrby(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	return add_word(keyspace, call, false, result);
}

enum kv_status script_incrby_existing(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item;

	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	return add_word(keyspace, call, false, result);
}

enum kv_status script_decrby_existing(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item;

	if (keyspace_get(keyspace, &call->key, &item))
		return add_word(keyspace, call, true, result);
	result->kind = KV_BYTES;
	result->bytes = (struct slice){ "NEX", 3 };
	return KV_OK;
}

enum kv_status script_value_and_pttl(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	int64_t left = script_time_left(keyspace, &call->key);
	struct list *list = keyspace_list(keyspace);
	struct item item;
	bool exists = keyspace_get(keyspace, &call->key, &item);

	if (list_add(list, exists ? KV_BYTES : KV_NOTHING, item.value) == -1 ||
	    add_number(list, left) == -1)
		return KV_NO_MEMORY;
	return verb_list(list, result);
}

/* --- rate limiters --- */

/* Begins a window with the count 1. */
static enum kv_status begin(
    struct keyspace *keyspace, const struct call *call, struct slice time, struct kv_result *result)
{
	enum kv_status status =
	    script_put_for(keyspace, &call->key, (struct slice){ "1", 1 }, time, 1);
	int64_t ms;

	command_number(time, &ms);
	return status == KV_OK ? reply_pair(keyspace, 1, ms, result) : status;
}

/* Counts one more, and sets *hits. */
static enum kv_status count_one(
    struct keyspace *keyspace, const struct call *call, int64_t *hits, struct kv_result *result)
{
	enum kv_status status = verb_add(keyspace, &call->key, 1, result);

	*hits = status == KV_OK ? result->integer : 0;
	return status;
}

/* Begins the window anew if `anew`, or if it would never end; *left = the ms until its end. */
static enum kv_status time_window(struct keyspace *keyspace, const struct call *call, bool anew,
    struct slice time, int64_t *left, struct kv_result *result)
{
	enum kv_status status;

	*left = script_time_left(keyspace, &call->key);
	if (!anew && *left > 0)
		return KV_OK;
	status = command_number(time, left);
	return status == KV_OK ? script_expire_in(keyspace, &call->key, time, 1, result) : status;
}

static enum kv_status count(struct keyspace *keyspace, const struct call *call, bool anew,
    struct slice time, struct kv_result *result)
{
	int64_t hits, left;
	enum kv_status status = count_one(keyspace, call, &hits, result);

	if (status == KV_OK)
		status = time_window(keyspace, call, anew, time, &left, result);
	return status == KV_OK ? reply_pair(keyspace, hits, left, result) : status;
}

/* "1" = the window begins anew with each request, then its ms. */
enum kv_status script_count(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	return count(keyspace, call, slice_is_equal(call->args[0], (struct slice){ "1", 1 }),
	    call->args[1], result);
}

enum kv_status script_count_window(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	if (script_time_left(keyspace, &call->key) <= 0)
		return begin(keyspace, call, call->args[0], result);
	return count(keyspace, call, false, call->args[0], result);
}

/* As script_count(), but a key that does not expire is replaced. */
enum kv_status script_count_or_reset(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	if (script_time_left(keyspace, &call->key) <= 0)
		return begin(keyspace, call, call->args[1], result);
	return script_count(keyspace, call, result);
}

/* By how much, then the seconds of the window. */
enum kv_status script_count_from_zero(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	const struct slice zero = { "0", 1 };
	int64_t left = script_time_left(keyspace, &call->key), seconds, ms, hits;
	enum kv_status status = command_number(call->args[1], &seconds);

	if (status != KV_OK)
		return status;
	if (seconds <= 0 || __builtin_mul_overflow(seconds, 1000, &ms))
		return KV_INVALID_EXPIRE;
	if (left == -2)
		status = script_put_for(keyspace, &call->key, zero, call->args[1], 1000);
	if (status == KV_OK)
		status = add_word(keyspace, call, false, result);
	if (status != KV_OK)
		return status;
	hits = result->integer;
	if (left == -1)
		status = script_expire_in(keyspace, &call->key, call->args[1], 1000, result);
	else
		ms = script_time_left(keyspace, &call->key);
	return status == KV_OK ? reply_pair(keyspace, hits, ms, result) : status;
}

/* The ms of the window, the limit, how much more leads to a ban (-1 = never), "true" = a request over it begins it anew. */
enum kv_status script_count_or_ban(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	int64_t hits, limit, most, left;
	enum kv_status status = count_one(keyspace, call, &hits, result);
	bool over, added;

	if (status != KV_OK || (status = command_number(call->args[1], &limit)) != KV_OK ||
	    (status = command_number(call->args[2], &most)) != KV_OK)
		return status;
	over = is_true(call->args[3]) && hits > limit;
	status = time_window(keyspace, call, over, call->args[0], &left, result);
	if (status == KV_OK)
		status = reply_pair(keyspace, hits, left, result);
	if (status != KV_OK)
		return status;
	if (most != -1 && hits - limit > most)
		added = add_number(&keyspace->list, 1) == 0;
	else
		added = list_add(&keyspace->list, KV_NOTHING, (struct slice){ "", 0 }) == 0;
	return added ? verb_list(&keyspace->list, result) : KV_NO_MEMORY;
}

/* The ms of the window, the limit, "true" = as above, "true" = each request over it doubles the window. */
enum kv_status script_count_backoff(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	int64_t hits, limit, ms;
	enum kv_status status = count_one(keyspace, call, &hits, result);
	char text[24];
	int length;

	if (status != KV_OK || (status = command_number(call->args[0], &ms)) != KV_OK ||
	    (status = command_number(call->args[1], &limit)) != KV_OK)
		return status;
	if (hits == 1 || (is_true(call->args[2]) && hits > limit)) {
		length = snprintf(text, sizeof(text), "%" PRId64, ms);
	} else if (is_true(call->args[3]) && hits > limit) {
		for (int64_t n = hits - limit - 1; n > 0 && ms > 0 && ms < SAFE_MAX; n--)
			ms = ms > SAFE_MAX / 2 ? SAFE_MAX : 2 * ms;
		length = snprintf(text, sizeof(text), "%" PRId64, ms);
	} else {
		ms = script_time_left(keyspace, &call->key);
		return reply_pair(keyspace, hits, ms, result);
	}
	status = script_expire_in(
	    keyspace, &call->key, (struct slice){ text, (size_t)length }, 1, result);
	return status == KV_OK ? reply_pair(keyspace, hits, ms, result) : status;
}

/* The same pair, without counting: 0 and 0 if there is no window. */
enum kv_status script_count_read(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	int64_t left = script_time_left(keyspace, &call->key), hits;
	enum kv_status status;
	struct item item;

	if (!keyspace_get(keyspace, &call->key, &item))
		return reply_pair(keyspace, 0, 0, result);
	status = command_number(item.value, &hits);
	return status == KV_OK ? reply_pair(keyspace, hits, left < 0 ? 0 : left, result) : status;
}

/* The seconds of the window, then by how much; it begins with the first request. */
enum kv_status script_count_amount(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	int64_t amount, hits;
	enum kv_status status = command_number(call->args[1], &amount);

	if (status == KV_OK)
		status = verb_add(keyspace, &call->key, amount, result);
	if (status != KV_OK)
		return status;
	hits = result->integer;
	if (hits == amount)
		status = script_expire_in(keyspace, &call->key, call->args[0], 1000, result);
	return status == KV_OK ? verb_integer(result, hits) : status;
}
