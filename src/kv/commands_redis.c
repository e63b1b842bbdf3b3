/*
 * What clients of Redis have besides the commands of lines: more of them, and more options. Replies and errors are those
 * of Redis 7.2 unless a comment says otherwise; IFEQ and its kin, DIGEST and DELEX are of 8.4.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "kv/command.h"
#include "kv/keyspace.h"
#include "kv/verb.h"

#define FLOAT_MAX_LENGTH 5120 /* bytes of a number that is read, as in Redis */
#define FLUSHED_KEYS 512      /* in one turn */
#define ENTRY_OVERHEAD 24     /* bytes that a key takes besides itself and its value, about */

/* The request is wrong; the text is constant, or in keyspace_list(). */
static enum kv_status refuse(struct kv_result *result, const char *text)
{
	verb_text(result, text);
	return KV_INVALID;
}

static enum kv_status refuse_syntax(struct kv_result *result)
{
	return refuse(result, "syntax error");
}

/* Makes a copy of the bytes what the result carries; it is in keyspace_list(). */
static enum kv_status keep_bytes(
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

static struct slice key_bytes(const struct table_key *key)
{
	return (struct slice){ key->bytes, key->length };
}

/* --- options --- */

/* A time of expiry, as an option gives it: EX s, PX ms, EXAT s, PXAT ms. */
struct expiry_option {
	char unit[5]; /* "" = none is given */
	struct slice number;
};

/* Takes the option at *n, which advances to its last word, if it is one. */
static bool take_expiry(const struct call *call, size_t *n, struct expiry_option *expiry)
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

/* IFEQ value, IFNE value, IFDEQ digest, IFDNE digest. */
struct comparison {
	bool given, digest, differs;
	struct slice operand;
};

static bool take_comparison(const struct call *call, size_t *n, struct comparison *comparison)
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

static void write_digest(struct slice value, char hex[17])
{
	snprintf(hex, 17, "%016" PRIx64, (uint64_t)verb_digest(value));
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
		write_digest(value, hex);
		same = verb_is_word(comparison->operand, hex);
	} else {
		same = verb_is_equal(value, comparison->operand);
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
		else if (!take_expiry(call, &n, &o->expiry) &&
			 !take_comparison(call, &n, &o->comparison))
			return false;
	}
	return o->missing + o->existing + o->comparison.given <= 1 &&
	       !(o->keep && *o->expiry.unit != '\0');
}

static enum kv_status run_set(
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
		return refuse_syntax(result);
	status = read_expiry(keyspace, &o.expiry, &expires);
	if (status != KV_OK)
		return status;
	exists = keyspace_get(keyspace, &call->key, &item);
	if (o.get && (status = verb_take_value(keyspace, call, result)) == KV_NO_MEMORY)
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

static enum kv_status run_getex(
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
		else if (!take_expiry(call, &n, &expiry))
			return refuse_syntax(result);
	if (persist && *expiry.unit != '\0')
		return refuse_syntax(result);
	status = read_expiry(keyspace, &expiry, &expires);
	if (status != KV_OK)
		return status;
	status = verb_take_value(keyspace, call, result);
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

/* Puts back what the first `count` pairs have replaced: a list of each one's value and expiry. */
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
		keyspace_put(keyspace, &key, &item);
	}
	free(places);
}

/* All or none: what is replaced is copied, for the case that memory runs out on the way. */
static enum kv_status run_mset(
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

static enum kv_status run_msetnx(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	for (size_t n = 0; n < 1 + call->more_count / 2; n++) {
		struct slice value;
		struct table_key key = pair_of(keyspace, call, n, &value);
		struct item item;

		if (keyspace_get(keyspace, &key, &item))
			return KV_EXISTS;
	}
	return run_mset(keyspace, call, result);
}

static enum kv_status run_getrange(
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

static enum kv_status run_setrange(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct slice part = call->args[1], value;
	int64_t offset = call->numbers[0];
	struct item item = { 0 };
	enum kv_status status;
	char *bytes;

	if (offset < 0)
		return refuse(result, "offset is out of range");
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

static enum kv_status run_decrby(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	if (call->numbers[0] == INT64_MIN)
		return refuse(result, "decrement would overflow");
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

static enum kv_status run_incrbyfloat(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	long double number = 0, by;
	struct item item = { 0 };
	char text[FLOAT_MAX_LENGTH];
	enum kv_status status;
	struct slice value;

	if ((keyspace_get(keyspace, &call->key, &item) && !read_float(item.value, &number)) ||
	    !read_float(call->args[0], &by))
		return refuse(result, "value is not a valid float");
	number += by;
	if (isnan(number) || isinf(number))
		return refuse(result, "increment would produce NaN or Infinity");
	value = (struct slice){ text, write_float(number, text, sizeof(text)) };
	status = verb_put(keyspace, &call->key, value, item.expires);
	return status == KV_OK ? keep_bytes(keyspace, value, result) : status;
}

static enum kv_status run_digest(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item;
	char hex[17];

	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	write_digest(item.value, hex);
	return keep_bytes(keyspace, (struct slice){ hex, 16 }, result);
}

static enum kv_status run_delex(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct comparison comparison = { .given = false };
	struct item item;

	for (size_t n = 0; n < call->more_count; n++)
		if (!take_comparison(call, &n, &comparison))
			return refuse_syntax(result);
	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	if (!compare(&comparison, true, item.value))
		return KV_CHANGED;
	return keyspace_delete(keyspace, &call->key) ? KV_OK : KV_NOT_FOUND;
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

			return keep_bytes(keyspace, (struct slice){ copy, (size_t)length },
				   result) == KV_OK
				   ? KV_INVALID
				   : KV_NO_MEMORY;
		}
	}
	if (o->never && (o->ever || o->later || o->sooner))
		return refuse(
		    result, "NX and XX, GT or LT options at the same time are not compatible");
	if (o->later && o->sooner)
		return refuse(result, "GT and LT options at the same time are not compatible");
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
	if (expires <= keyspace_now(keyspace))
		return keyspace_delete(keyspace, &call->key) ? KV_OK : KV_NOT_FOUND;
	item.expires = expires;
	return keyspace_put(keyspace, &call->key, &item) == 0 ? KV_OK : KV_FULL;
}

static enum kv_status run_expire(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	return set_expiry(keyspace, call, 1000, true, result);
}

static enum kv_status run_pexpire(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	return set_expiry(keyspace, call, 1, true, result);
}

static enum kv_status run_expireat(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	return set_expiry(keyspace, call, 1000, false, result);
}

static enum kv_status run_pexpireat(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	return set_expiry(keyspace, call, 1, false, result);
}

static enum kv_status run_persist(
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

static enum kv_status run_pexpiretime(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item;

	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	return item.expires == 0 ? KV_NEVER : verb_integer(result, item.expires);
}

static enum kv_status run_expiretime(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	enum kv_status status = run_pexpiretime(keyspace, call, result);

	if (status == KV_OK)
		result->integer = result->integer / 1000 + (result->integer % 1000 >= 500);
	return status;
}

/* --- keys --- */

/* DEL and UNLINK. */
static enum kv_status run_del(
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

static enum kv_status run_renamenx(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct table_key to = keyspace_key(keyspace, call->args[0]);
	struct item item;
	/* First the key that may have expired and end the item of the other one. */
	bool exists = keyspace_get(keyspace, &to, &item);

	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	if (exists)
		return verb_integer(result, 0);
	if (keyspace_rename(keyspace, &call->key, &item, &to) == -1)
		return KV_FULL;
	return verb_integer(result, 1);
}

static enum kv_status run_copy(
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
				return refuse(result, "DB index is out of range");
		} else {
			return refuse_syntax(result);
		}
	}
	if (verb_is_equal(key_bytes(&call->key), call->args[0]))
		return refuse(result, "source and destination objects are the same");
	exists = keyspace_get(keyspace, &to, &item);
	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	if (exists && !replace)
		return KV_EXISTS;
	return keyspace_put(keyspace, &to, &item) == 0 ? KV_OK : KV_FULL;
}

static enum kv_status run_scan(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct slice none = { "", 0 };
	const struct slice *pattern = NULL;
	int64_t count = VERB_PAGE;
	enum kv_status status;
	uint64_t cursor;

	if (verb_cursor(call->args[0], &cursor) != KV_OK)
		return refuse(result, "invalid cursor");
	for (size_t n = 0; n < call->more_count; n += 2) {
		struct slice word = call->more[n];
		const struct slice *value = &call->more[n + 1];

		if (n + 1 == call->more_count)
			return refuse_syntax(result);
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
				return refuse_syntax(result);
		} else if (!verb_is_word(word, "TYPE")) {
			return refuse_syntax(result);
		} else if (!verb_is_word(*value, "string")) {
			pattern = &none; /* there are no others */
		}
	}
	return verb_page(keyspace, cursor, pattern, count, result);
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

/* From a bucket by chance on, the first one with a key. */
static enum kv_status run_randomkey(
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

/* FLUSHDB and FLUSHALL: a part in each turn, so that other clients may see that some keys have gone already. */
static enum kv_status run_flush(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	uint64_t cursor = call->from;
	size_t visits = 0;

	if (call->arg_count > 0 && !verb_is_word(call->args[0], "SYNC") &&
	    !verb_is_word(call->args[0], "ASYNC"))
		return refuse_syntax(result);
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
	} while (cursor != 0 && visits < FLUSHED_KEYS);
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

static enum kv_status run_object(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct table_key key = keyspace_key(keyspace, call->args[1]);
	struct slice what = call->args[0];
	struct item item;

	if (!verb_is_word(what, "ENCODING") && !verb_is_word(what, "REFCOUNT") &&
	    !verb_is_word(what, "IDLETIME") && !verb_is_word(what, "FREQ"))
		return KV_UNKNOWN;
	if (!keyspace_get(keyspace, &key, &item))
		return KV_NOT_FOUND;
	if (verb_is_word(what, "ENCODING")) {
		verb_text(result, encoding_of(item.value));
		result->kind = KV_BYTES;
		return KV_OK;
	}
	if (verb_is_word(what, "FREQ"))
		return refuse(result,
		    "An LFU maxmemory policy is not selected, access frequency not tracked. "
		    "Please note that when switching between policies at runtime LRU and LFU "
		    "data will take some time to adjust.");
	/* When a key was used is not known. */
	return verb_integer(result, verb_is_word(what, "REFCOUNT"));
}

static enum kv_status run_memory(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct table_key key = keyspace_key(keyspace, call->args[1]);
	struct item item;

	if (!verb_is_word(call->args[0], "USAGE"))
		return KV_UNKNOWN;
	if (call->more_count != 0 &&
	    (call->more_count != 2 || !verb_is_word(call->more[0], "SAMPLES")))
		return refuse_syntax(result);
	if (!keyspace_get(keyspace, &key, &item))
		return KV_NOT_FOUND;
	return verb_integer(result, (int64_t)(ENTRY_OVERHEAD + key.length + item.value.length));
}

/* --- the rows --- */

#define NAME(name_) .name = (name_), .name_length = sizeof(name_) - 1
/* clang-format off */
#define KEY { ARG_KEY, 0, "key", 0 }
#define KEYS { ARG_KEY, ARG_MANY, "key", 0 }
#define NEW_KEY { ARG_KEY, 0, "newkey", 0 }
#define VALUE { ARG_BYTES, 0, "value", 0 }
#define NUMBER(name) { ARG_INTEGER, 0, (name), 0 }
#define TIME(name) { ARG_BYTES, 0, (name), 0 }
#define OPTIONS(usage) { ARG_OPTIONS, ARG_OPTIONAL | ARG_MANY, (usage), 0 }
#define PAIRS { ARG_PAIRS, ARG_OPTIONAL | ARG_MANY, "[key value...]", 0 }
#define WHAT { ARG_BYTES, 0, "subcommand", 0 }
/* clang-format on */
#define EXPIRE_OPTIONS OPTIONS("[NX | XX | GT | LT]")
#define EXPIRY_OPTIONS "[EX seconds | PX ms | EXAT unix | PXAT unix-ms"
#define IF_OPTIONS "[IFEQ value | IFNE value | IFDEQ digest | IFDNE digest]"

const struct command commands_redis[] = {
	{ NAME("SET"),
	    .args = { KEY, VALUE,
		OPTIONS("[NX | XX] " IF_OPTIONS " [GET] " EXPIRY_OPTIONS " | KEEPTTL]") },
	    .flags = COMMAND_GROWS, .run = run_set, .help = "Sets the key to the value." },
	{ NAME("GETEX"), .args = { KEY, OPTIONS(EXPIRY_OPTIONS " | PERSIST]") },
	    .flags = COMMAND_GROWS, .run = run_getex,
	    .help = "The value of the key, whose expiry is set or ended." },
	{ NAME("MSET"), .args = { KEY, VALUE, PAIRS }, .flags = COMMAND_GROWS, .run = run_mset,
	    .help = "Sets the keys to the values." },
	{ NAME("MSETNX"), .args = { KEY, VALUE, PAIRS }, .flags = COMMAND_GROWS, .run = run_msetnx,
	    .reply = REPLY_DONE,
	    .help = "Sets the keys to the values unless one of the keys exists." },
	{ NAME("GETRANGE"), .args = { KEY, NUMBER("start"), NUMBER("end") }, .run = run_getrange,
	    .help = "A part of the value." },
	{ NAME("SUBSTR"), .args = { KEY, NUMBER("start"), NUMBER("end") }, .run = run_getrange,
	    .help = "The same, by its old name." },
	{ NAME("SETRANGE"), .args = { KEY, NUMBER("offset"), VALUE }, .flags = COMMAND_GROWS,
	    .run = run_setrange, .help = "Overwrites a part of the value; its new length." },
	{ NAME("DECRBY"), .args = { KEY, NUMBER("n") }, .flags = COMMAND_GROWS, .run = run_decrby,
	    .help = "Subtracts n from the number that is the value." },
	{ NAME("INCRBYFLOAT"), .args = { KEY, { ARG_BYTES, 0, "number", 0 } },
	    .flags = COMMAND_GROWS, .run = run_incrbyfloat,
	    .help = "Adds to the decimal number that is the value." },
	{ NAME("DIGEST"), .args = { KEY }, .run = run_digest,
	    .help = "The digest of the value, XXH3-64." },
	{ NAME("DELEX"), .args = { KEY, OPTIONS(IF_OPTIONS) }, .flags = COMMAND_WRITES,
	    .run = run_delex, .reply = REPLY_DONE,
	    .help = "Deletes the key if its value is, or is not, that." },
	{ NAME("EXPIRE"), .args = { KEY, TIME("seconds"), EXPIRE_OPTIONS }, .flags = COMMAND_GROWS,
	    .run = run_expire, .reply = REPLY_DONE,
	    .help = "Lets the key expire after that time." },
	{ NAME("PEXPIRE"), .args = { KEY, TIME("ms"), EXPIRE_OPTIONS }, .flags = COMMAND_GROWS,
	    .run = run_pexpire, .reply = REPLY_DONE,
	    .help = "Lets the key expire after that time." },
	{ NAME("EXPIREAT"), .args = { KEY, TIME("unix"), EXPIRE_OPTIONS }, .flags = COMMAND_GROWS,
	    .run = run_expireat, .reply = REPLY_DONE,
	    .help = "Lets the key expire at that time, in seconds since 1970." },
	{ NAME("PEXPIREAT"), .args = { KEY, TIME("unix-ms"), EXPIRE_OPTIONS },
	    .flags = COMMAND_GROWS, .run = run_pexpireat, .reply = REPLY_DONE,
	    .help = "Lets the key expire at that time, in milliseconds since 1970." },
	{ NAME("EXPIRETIME"), .args = { KEY }, .run = run_expiretime, .reply = REPLY_TIME,
	    .help = "When the key expires, in seconds since 1970." },
	{ NAME("PEXPIRETIME"), .args = { KEY }, .run = run_pexpiretime, .reply = REPLY_TIME,
	    .help = "When the key expires, in milliseconds since 1970." },
	{ NAME("PERSIST"), .args = { KEY }, .flags = COMMAND_GROWS, .run = run_persist,
	    .reply = REPLY_DONE, .help = "Ends the expiry of the key." },
	{ NAME("DEL"), .args = { KEYS }, .flags = COMMAND_WRITES, .run = run_del,
	    .help = "Deletes the keys; how many there were." },
	{ NAME("UNLINK"), .args = { KEYS }, .flags = COMMAND_WRITES, .run = run_del,
	    .help = "Deletes the keys; how many there were." },
	{ NAME("TOUCH"), .args = { KEYS }, .run = verb_exists,
	    .help = "How many of the keys exist." },
	{ NAME("RENAMENX"), .args = { KEY, NEW_KEY }, .flags = COMMAND_GROWS, .run = run_renamenx,
	    .reply = REPLY_NEEDED, .help = "Renames the key unless newkey exists." },
	{ NAME("COPY"), .args = { KEY, NEW_KEY, OPTIONS("[DB 0] [REPLACE]") },
	    .flags = COMMAND_GROWS, .run = run_copy, .reply = REPLY_DONE,
	    .help = "Copies the key." },
	{ NAME("KEYS"), .args = { { ARG_PATTERN, 0, "pattern", 0 } }, .run = verb_keys,
	    .help = "The keys that match the glob pattern." },
	{ NAME("SCAN"),
	    .args = { { ARG_BYTES, 0, "cursor", 0 },
		OPTIONS("[MATCH pattern] [COUNT n] [TYPE type]") },
	    .run = run_scan, .help = "The next cursor, 0 at the end, and some keys." },
	{ NAME("RANDOMKEY"), .run = run_randomkey, .help = "Some key." },
	{ NAME("FLUSHDB"), .args = { { ARG_BYTES, ARG_OPTIONAL, "ASYNC | SYNC", 0 } },
	    .flags = COMMAND_WRITES, .run = run_flush, .help = "Deletes all keys." },
	{ NAME("FLUSHALL"), .args = { { ARG_BYTES, ARG_OPTIONAL, "ASYNC | SYNC", 0 } },
	    .flags = COMMAND_WRITES, .run = run_flush, .help = "Deletes all keys." },
	{ NAME("OBJECT"), .args = { WHAT, KEY }, .flags = COMMAND_PARENT, .run = run_object,
	    .help = "How the value is stored." },
	{ NAME("MEMORY"), .args = { WHAT, KEY, OPTIONS("[SAMPLES n]") }, .flags = COMMAND_PARENT,
	    .run = run_memory, .help = "The memory that the key takes." },
	{ 0 },
};
