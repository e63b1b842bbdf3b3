/*
 * Commands of Redis about values: SET with its options, parts of values, decimal numbers. IFEQ, IFNE, IFDEQ, IFDNE, DIGEST
 * and DELEX are those of Redis 8.4.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/keyspace.h"
#include "kv/redis_verbs.h"
#include "kv/users.h"
#include "kv/verb.h"

#define FLOAT_MAX_LENGTH 5120 /* bytes of a number that is read, as in Redis */

enum kv_status redis_refuse(struct kv_result *result, const char *text)
{
	verb_text(result, text);
	return KV_INVALID;
}

enum kv_status redis_refuse_syntax(struct kv_result *result)
{
	return redis_refuse(result, "syntax error");
}

/* --- options --- */

/* A time of expiry, as an option gives it: EX s, PX ms, EXAT s, PXAT ms. */
struct expiry_option {
	char unit[5]; /* "" = none is given */
	struct slice number;
};

/* Parses the option at *n and advances *n to its last word. false: it is no such option, or contradicts another one. */
static bool parse_expiry(const struct call *call, size_t *n, struct expiry_option *expiry)
{
	static const char units[][5] = { "EX", "PX", "EXAT", "PXAT" };

	for (size_t i = 0; i < 4; i++) {
		if (!verb_is_word(call->more[*n], units[i]))
			continue;
		if (*n + 1 == call->more_count ||
		    (*expiry->unit != '\0' && strcmp(expiry->unit, units[i]) != 0))
			return false;
		memcpy(expiry->unit, units[i], sizeof(units[i]));
		expiry->number = call->more[++*n];
		return true;
	}
	return false;
}

/* Sets *expires, ms since 1970, or 0 without the option. */
static enum kv_status read_expiry(
    struct keyspace *keyspace, const struct expiry_option *expiry, int64_t *expires)
{
	enum kv_status status;

	*expires = 0;
	if (*expiry->unit == '\0')
		return KV_OK;
	status = command_number(expiry->number, expires);
	if (status != KV_OK)
		return status;
	if (*expires <= 0 ||
	    (*expiry->unit == 'E' && __builtin_mul_overflow(*expires, 1000, expires)) ||
	    (expiry->unit[2] == '\0' &&
		__builtin_add_overflow(*expires, keyspace_now(keyspace), expires)))
		return KV_INVALID_EXPIRE;
	return KV_OK;
}

/* A condition on the present value: IFEQ value, IFNE value, IFDEQ digest, IFDNE digest. */
struct comparison {
	bool given, digest, differs;
	struct slice operand;
};

static bool parse_comparison(const struct call *call, size_t *n, struct comparison *comparison)
{
	static const char names[][6] = { "IFEQ", "IFNE", "IFDEQ", "IFDNE" };

	for (size_t i = 0; i < 4; i++) {
		if (!verb_is_word(call->more[*n], names[i]))
			continue;
		if (comparison->given || *n + 1 == call->more_count)
			return false;
		*comparison = (struct comparison){ true, i >= 2, i % 2 == 1, call->more[++*n] };
		return true;
	}
	return false;
}

static bool compare(const struct comparison *comparison, bool exists, struct slice value)
{
	char hex[17];
	bool same;

	if (!comparison->given)
		return true;
	if (!exists)
		return comparison->differs;
	if (comparison->digest) {
		verb_write_digest(value, hex);
		same = verb_is_word(comparison->operand, hex);
	} else {
		same = slice_is_equal(value, comparison->operand);
	}
	return same != comparison->differs;
}

/* --- values --- */

struct set_options {
	bool missing, existing, get, keep; /* NX, XX, GET, KEEPTTL */
	struct expiry_option expiry;
	struct comparison comparison;
};

static bool read_set_options(const struct call *call, struct set_options *o)
{
	for (size_t n = 0; n < call->more_count; n++) {
		struct slice word = call->more[n];

		if (verb_is_word(word, "NX"))
			o->missing = true;
		else if (verb_is_word(word, "XX"))
			o->existing = true;
		else if (verb_is_word(word, "GET"))
			o->get = true;
		else if (verb_is_word(word, "KEEPTTL"))
			o->keep = true;
		else if (!parse_expiry(call, &n, &o->expiry) &&
			 !parse_comparison(call, &n, &o->comparison))
			return false;
	}
	return o->missing + o->existing + o->comparison.given <= 1 &&
	       !(o->keep && *o->expiry.unit != '\0');
}

enum kv_status redis_set(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct set_options o = { 0 };
	enum kv_status status, set = KV_OK;
	struct item item = { 0 };
	int64_t expires;
	bool exists;

	if (call->more_count == 0)
		return verb_put(keyspace, &call->key, call->args[0], 0);
	if (!read_set_options(call, &o))
		return redis_refuse_syntax(result);
	if (o.get && call->user != NULL && !(call->user->rights & RIGHT_READ))
		return KV_NOT_ALLOWED;
	status = read_expiry(keyspace, &o.expiry, &expires);
	if (status != KV_OK)
		return status;
	exists = keyspace_get(keyspace, &call->key, &item);
	if (o.get && (status = verb_copy_value(keyspace, call, result)) == KV_NO_MEMORY)
		return status;
	if ((o.missing && exists) || (o.existing && !exists) ||
	    !compare(&o.comparison, exists, item.value))
		return o.get ? status : KV_CHANGED;
	if (o.keep)
		expires = item.expires;
	if (expires != 0 && expires <= keyspace_now(keyspace))
		keyspace_delete(keyspace, &call->key);
	else
		set = verb_put(keyspace, &call->key, call->args[0], expires);
	return set == KV_OK ? status : set;
}

enum kv_status redis_getex(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct expiry_option expiry = { .unit = "" };
	enum kv_status status;
	bool persist = false;
	struct item item;
	int64_t expires;

	for (size_t n = 0; n < call->more_count; n++)
		if (verb_is_word(call->more[n], "PERSIST"))
			persist = true;
		else if (!parse_expiry(call, &n, &expiry))
			return redis_refuse_syntax(result);
	if (persist && *expiry.unit != '\0')
		return redis_refuse_syntax(result);
	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	status = read_expiry(keyspace, &expiry, &expires);
	if (status != KV_OK)
		return status;
	status = verb_copy_value(keyspace, call, result);
	if (status != KV_OK || (expires == 0 && !persist))
		return status;
	if (expires != 0 && expires <= keyspace_now(keyspace)) {
		keyspace_delete(keyspace, &call->key);
		return KV_OK;
	}
	keyspace_get(keyspace, &call->key, &item);
	if (item.expires == expires)
		return KV_OK;
	item.expires = expires;
	return keyspace_put(keyspace, &call->key, &item) == 0 ? KV_OK : KV_FULL;
}

/* The n-th key and value of MSET. */
static struct table_key pair_of(
    const struct keyspace *keyspace, const struct call *call, size_t n, struct slice *value)
{
	if (n == 0) {
		*value = call->args[0];
		return call->key;
	}
	*value = call->more[2 * n - 1];
	return keyspace_key(keyspace, call->more[2 * n - 2]);
}

/* Restores the items that the first `count` pairs have replaced. keyspace->list has the value and expiry of each. */
static void undo_pairs(struct keyspace *keyspace, const struct call *call, size_t count)
{
	size_t *places = calloc(count + 1, sizeof(*places)), at = 0;
	struct list_item value, expiry;

	for (size_t n = 0; places != NULL && n < count; n++) {
		places[n] = at;
		list_next(&keyspace->list, &at, &value);
		list_next(&keyspace->list, &at, &expiry);
	}
	/* From the last one back: a key may be there twice. */
	for (size_t n = count; places != NULL && n-- > 0;) {
		struct slice unused;
		struct table_key key = pair_of(keyspace, call, n, &unused);
		struct item item = { 0 };

		at = places[n];
		list_next(&keyspace->list, &at, &value);
		list_next(&keyspace->list, &at, &expiry);
		if (value.kind == KV_NOTHING) {
			keyspace_delete(keyspace, &key);
			continue;
		}
		item.value = value.bytes;
		memcpy(&item.expires, expiry.bytes.bytes, sizeof(item.expires));
		keyspace_put_back(keyspace, &key, &item);
	}
	free(places);
}

/* All or none: copies the items that it replaces, and restores them if memory runs out. */
enum kv_status redis_mset(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct list *replaced = keyspace_list(keyspace);
	size_t count = 1 + call->more_count / 2;

	(void)result;
	for (size_t n = 0; n < count; n++) {
		struct item item = { 0 };
		struct slice value;
		struct table_key key = pair_of(keyspace, call, n, &value);
		bool exists = keyspace_get(keyspace, &key, &item);
		struct slice expires = { (const char *)&item.expires, sizeof(item.expires) };
		enum kv_status refusal;

		if (list_add(replaced, exists ? KV_BYTES : KV_NOTHING, item.value) == 0 &&
		    list_add(replaced, KV_BYTES, expires) == 0 &&
		    verb_put(keyspace, &key, value, 0) == KV_OK)
			continue;
		refusal = keyspace->refusal;
		undo_pairs(keyspace, call, n);
		keyspace->refusal = refusal;
		return KV_FULL;
	}
	return KV_OK;
}

enum kv_status redis_msetnx(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	for (size_t n = 0; n < 1 + call->more_count / 2; n++) {
		struct slice value;
		struct table_key key = pair_of(keyspace, call, n, &value);
		struct item item;

		if (keyspace_get(keyspace, &key, &item))
			return KV_EXISTS;
	}
	return redis_mset(keyspace, call, result);
}

enum kv_status redis_getrange(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	int64_t first = call->numbers[0], last = call->numbers[1], length;
	struct item item = { 0 };

	keyspace_get(keyspace, &call->key, &item);
	length = (int64_t)item.value.length;
	result->kind = KV_BYTES;
	result->bytes = (struct slice){ "", 0 };
	if (first < 0 && last < 0 && first > last)
		return KV_OK;
	if (first < 0)
		first = first < -length ? 0 : first + length;
	if (last < 0)
		last = last < -length ? 0 : last + length;
	if (last >= length)
		last = length - 1;
	if (first <= last)
		result->bytes =
		    (struct slice){ item.value.bytes + first, (size_t)(last - first + 1) };
	return KV_OK;
}

enum kv_status redis_setrange(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct slice part = call->args[1], value;
	int64_t offset = call->numbers[0];
	struct item item = { 0 };
	enum kv_status status;
	char *bytes;

	if (offset < 0)
		return redis_refuse(result, "offset is out of range");
	keyspace_get(keyspace, &call->key, &item);
	if (part.length == 0)
		return verb_integer(result, (int64_t)item.value.length);
	if ((uint64_t)offset > keyspace->max_value ||
	    (size_t)offset + part.length > keyspace->max_value)
		return KV_VALUE_TOO_LONG;
	value.length = (size_t)offset + part.length;
	if (value.length < item.value.length)
		value.length = item.value.length;
	bytes = calloc(1, value.length);
	if (bytes == NULL)
		return KV_NO_MEMORY;
	if (item.value.length > 0)
		memcpy(bytes, item.value.bytes, item.value.length);
	memcpy(bytes + offset, part.bytes, part.length);
	value.bytes = bytes;
	status = verb_put(keyspace, &call->key, value, item.expires);
	free(bytes);
	return status == KV_OK ? verb_integer(result, (int64_t)value.length) : status;
}

enum kv_status redis_decrby(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	if (call->numbers[0] == INT64_MIN)
		return redis_refuse(result, "decrement would overflow");
	return verb_add(keyspace, &call->key, -call->numbers[0], result);
}

static bool read_float(struct slice word, long double *number)
{
	char text[FLOAT_MAX_LENGTH], *end;

	if (word.length == 0 || word.length >= sizeof(text) ||
	    memchr(" \t\n\v\f\r", word.bytes[0], 6) != NULL)
		return false;
	memcpy(text, word.bytes, word.length);
	text[word.length] = '\0';
	errno = 0;
	*number = strtold(text, &end);
	return end == text + word.length && !isnan(*number) &&
	       !(errno == ERANGE && (isinf(*number) || *number == 0));
}

/* Returns the length. */
static size_t write_float(long double number, char *text, size_t size)
{
	size_t length = (size_t)snprintf(text, size, "%.17Lf", number);

	if (memchr(text, '.', length) != NULL) {
		while (text[length - 1] == '0')
			length--;
		if (text[length - 1] == '.')
			length--;
	}
	if (length == 2 && memcmp(text, "-0", 2) == 0) {
		text[0] = '0';
		length = 1;
	}
	return length;
}

enum kv_status redis_incrbyfloat(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	long double number = 0, by;
	struct item item = { 0 };
	char text[FLOAT_MAX_LENGTH];
	enum kv_status status;
	struct slice value;

	if ((keyspace_get(keyspace, &call->key, &item) && !read_float(item.value, &number)) ||
	    !read_float(call->args[0], &by))
		return redis_refuse(result, "value is not a valid float");
	number += by;
	if (isnan(number) || isinf(number))
		return redis_refuse(result, "increment would produce NaN or Infinity");
	value = (struct slice){ text, write_float(number, text, sizeof(text)) };
	status = verb_put(keyspace, &call->key, value, item.expires);
	return status == KV_OK ? verb_copy_bytes(keyspace, value, result) : status;
}

enum kv_status redis_digest(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item;
	char hex[17];

	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	verb_write_digest(item.value, hex);
	return verb_copy_bytes(keyspace, (struct slice){ hex, 16 }, result);
}

enum kv_status redis_delex(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct comparison comparison = { .given = false };
	struct item item;

	for (size_t n = 0; n < call->more_count; n++)
		if (!parse_comparison(call, &n, &comparison))
			return redis_refuse_syntax(result);
	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	if (!compare(&comparison, true, item.value))
		return KV_CHANGED;
	return keyspace_delete(keyspace, &call->key) ? KV_OK : KV_NOT_FOUND;
}
