/*
 * The commands' rows, and what each does with the keyspace. A new one is a function and a row; HACKING says what
 * else.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <xxhash.h>

#include "kv/command.h"
#include "kv/glob.h"
#include "kv/keyspace.h"
#include "kv/verb.h"

#define PART_VALUES ((size_t)64 << 10) /* bytes of values in a part of a list */
#define PART_KEYS 256                  /* keys and buckets that a part of a list looks at, */
#define PART_WORK ((size_t)32 << 10)   /* unless their pattern takes so many steps */
#define SCAN_MAX 512

bool verb_is_word(struct slice word, const char *name)
{
	return word.length == strlen(name) && strncasecmp(word.bytes, name, word.length) == 0;
}

int64_t verb_digest(struct slice value)
{
	return (int64_t)XXH3_64bits(value.bytes, value.length);
}

void verb_write_digest(struct slice value, char hex[17])
{
	snprintf(hex, 17, "%016" PRIx64, (uint64_t)verb_digest(value));
}

enum kv_status verb_put(
    struct keyspace *keyspace, const struct table_key *key, struct slice value, int64_t expires)
{
	const struct item item = { value, expires };

	if (value.length > keyspace->max_value)
		return KV_VALUE_TOO_LONG;
	return keyspace_put(keyspace, key, &item) == 0 ? KV_OK : KV_FULL;
}

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

/* --- values --- */

static enum kv_status run_get(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item;

	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	result->kind = KV_BYTES;
	result->bytes = item.value;
	return KV_OK;
}

static enum kv_status run_set(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item = { .value = call->args[0] };

	(void)result;
	return keyspace_put(keyspace, &call->key, &item) == 0 ? KV_OK : KV_FULL;
}

static enum kv_status run_del(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	(void)result;
	return keyspace_delete(keyspace, &call->key) ? KV_OK : KV_NOT_FOUND;
}

static enum kv_status run_setnx(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item;

	if (keyspace_get(keyspace, &call->key, &item))
		return KV_EXISTS;
	return run_set(keyspace, call, result);
}

/* SETEX and PSETEX: their row has converted the time to ms. */
static enum kv_status run_setex(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	int64_t expires;

	(void)result;
	if (call->numbers[0] < 1 ||
	    __builtin_add_overflow(keyspace_now(keyspace), call->numbers[0], &expires))
		return KV_INVALID_EXPIRE;
	return verb_put(keyspace, &call->key, call->args[1], expires);
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

static enum kv_status run_getdel(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	enum kv_status status = verb_copy_value(keyspace, call, result);

	if (status == KV_OK)
		keyspace_delete(keyspace, &call->key);
	return status;
}

static enum kv_status run_getset(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	enum kv_status status = verb_copy_value(keyspace, call, result), set;

	if (status == KV_NO_MEMORY)
		return status;
	set = verb_put(keyspace, &call->key, call->args[0], 0);
	return set == KV_OK ? status : set;
}

static enum kv_status run_append(
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

static enum kv_status run_strlen(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item;
	bool exists = keyspace_get(keyspace, &call->key, &item);

	return verb_integer(result, exists ? (int64_t)item.value.length : 0);
}

static enum kv_status run_gets(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	enum kv_status status = run_get(keyspace, call, result);

	if (status == KV_OK) {
		result->kind = KV_DIGESTED;
		result->integer = verb_digest(result->bytes);
	}
	return status;
}

static enum kv_status run_cas(
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

static enum kv_status run_delifeq(
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

static enum kv_status run_incr(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	return verb_add(keyspace, &call->key, 1, result);
}

static enum kv_status run_decr(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	return verb_add(keyspace, &call->key, -1, result);
}

static enum kv_status run_incrby(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	return verb_add(keyspace, &call->key, call->numbers[0], result);
}

static enum kv_status run_decrby(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	int64_t by;

	if (__builtin_sub_overflow(0, call->numbers[0], &by))
		return KV_OVERFLOW;
	return verb_add(keyspace, &call->key, by, result);
}

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
static enum kv_status run_expire(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	int64_t expires;

	(void)result;
	if (__builtin_add_overflow(keyspace_now(keyspace), call->numbers[0], &expires))
		return KV_INVALID_EXPIRE;
	return set_expiry(keyspace, &call->key, expires);
}

static enum kv_status run_expireat(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	(void)result;
	return set_expiry(keyspace, &call->key, call->numbers[0]);
}

static enum kv_status run_persist(
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

static enum kv_status run_pttl(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item;

	if (!keyspace_get(keyspace, &call->key, &item))
		return KV_NOT_FOUND;
	if (item.expires == 0)
		return KV_NEVER;
	return verb_integer(result, item.expires - keyspace_now(keyspace));
}

static enum kv_status run_ttl(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	enum kv_status status = run_pttl(keyspace, call, result);

	return status == KV_OK ? verb_seconds(result, result->integer) : status;
}

/* --- keys --- */

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

static enum kv_status run_type(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct item item;

	return verb_text(result, keyspace_get(keyspace, &call->key, &item) ? "string" : "none");
}

static enum kv_status run_rename(
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

static enum kv_status run_copy(
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

static enum kv_status run_dbsize(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	(void)call;
	return verb_integer(result, (int64_t)keyspace_count(keyspace));
}

/* --- lists --- */

enum kv_status verb_list(const struct list *list, struct kv_result *result)
{
	result->kind = KV_LIST;
	result->list = list;
	result->integer = (int64_t)list->count;
	return KV_OK;
}

/* A part ends after PART_VALUES; call->from is the number of keys in the parts before it. */
static enum kv_status run_mget(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	size_t all = 1 + call->more_count, n = (size_t)call->from;
	struct list *list = keyspace_list(keyspace);

	while (n < all && list->length < PART_VALUES) {
		struct table_key keys[VERB_GROUP];
		size_t count = verb_prepare_keys(keyspace, call, n, keys);

		for (size_t i = 0; i < count && list->length < PART_VALUES; i++, n++) {
			struct item item;
			bool exists = keyspace_get(keyspace, &keys[i], &item);

			if (list_add(list, exists ? KV_BYTES : KV_NOTHING,
				exists ? item.value : (struct slice){ 0 }) == -1)
				return KV_NO_MEMORY;
		}
	}
	verb_list(list, result);
	result->integer = (int64_t)all;
	result->next = n < all ? n : 0;
	return KV_OK;
}

struct match {
	struct list *list;
	const struct slice *pattern; /* NULL = all keys */
	size_t visited, work;
	bool failed;
};

static int add_match(void *arg, const struct slice *key, const struct item *item)
{
	struct match *match = arg;

	(void)item;
	match->visited++;
	if (match->pattern == NULL || glob_match(*match->pattern, *key, &match->work))
		match->failed |= list_add(match->list, KV_KEY, *key) == -1;
	return 0;
}

/* Adds matching keys until it has visited so many keys and empty buckets, or worked enough. Returns the next cursor. */
static uint64_t scan(struct keyspace *keyspace, uint64_t cursor, struct match *match, size_t visits)
{
	do {
		size_t before = match->visited;

		cursor = keyspace_scan(keyspace, cursor, add_match, match);
		match->visited += match->visited == before;
	} while (cursor != 0 && match->visited < visits && match->work < PART_WORK &&
		 match->list->length < PART_VALUES);
	return cursor;
}

enum kv_status verb_page(struct keyspace *keyspace, uint64_t cursor, const struct slice *pattern,
    int64_t count, struct kv_result *result)
{
	struct match match = { .list = keyspace_list(keyspace), .pattern = pattern };
	char text[24];
	int length;

	cursor =
	    scan(keyspace, cursor, &match, count < SCAN_MAX ? (size_t)count : (size_t)SCAN_MAX);
	length = snprintf(text, sizeof(text), "%" PRIu64, cursor);
	match.failed |=
	    list_add_first(match.list, KV_BYTES, (struct slice){ text, (size_t)length }) == -1;
	verb_list(match.list, result);
	result->kind = KV_PAGE;
	return match.failed ? KV_NO_MEMORY : KV_OK;
}

enum kv_status verb_keys(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct match match = { .list = keyspace_list(keyspace),
		.pattern = call->arg_count > 0 ? &call->args[0] : NULL };

	result->next = scan(keyspace, call->from, &match, PART_KEYS);
	verb_list(match.list, result);
	if (result->next != 0 || call->from != 0)
		result->integer = -1;
	return match.failed ? KV_NO_MEMORY : KV_OK;
}

/* The options of SCAN: MATCH pattern, COUNT n. */
static enum kv_status read_scan_options(
    const struct call *call, const struct slice **pattern, int64_t *count)
{
	if (call->more_count % 2 != 0)
		return KV_WRONG_ARGUMENTS;
	for (size_t i = 0; i < call->more_count; i += 2) {
		const struct slice *value = &call->more[i + 1];
		enum kv_status status = KV_OK;

		if (verb_is_word(call->more[i], "MATCH")) {
			*pattern = value;
			status = value->length > PATTERN_MAX ? KV_PATTERN_TOO_LONG : KV_OK;
		} else if (verb_is_word(call->more[i], "COUNT")) {
			status = command_number(*value, count);
			if (status == KV_OK && *count < 1)
				status = KV_OUT_OF_RANGE;
		} else {
			status = KV_WRONG_ARGUMENTS;
		}
		if (status != KV_OK)
			return status;
	}
	return KV_OK;
}

enum kv_status verb_cursor(struct slice word, uint64_t *cursor)
{
	*cursor = 0;
	for (size_t i = 0; i < word.length; i++) {
		unsigned digit = (unsigned char)word.bytes[i] - (unsigned)'0';

		if (digit > 9)
			return KV_NOT_A_NUMBER;
		if (__builtin_mul_overflow(*cursor, 10, cursor) ||
		    __builtin_add_overflow(*cursor, digit, cursor))
			return KV_OUT_OF_RANGE;
	}
	return word.length == 0 ? KV_NOT_A_NUMBER : KV_OK;
}

static enum kv_status run_scan(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	const struct slice *pattern = NULL;
	int64_t count = VERB_PAGE;
	enum kv_status status = read_scan_options(call, &pattern, &count);
	uint64_t cursor;

	if (status == KV_OK)
		status = verb_cursor(call->args[0], &cursor);
	if (status != KV_OK)
		return status;
	return verb_page(keyspace, cursor, pattern, count, result);
}

/* --- about the server --- */

static enum kv_status run_ping(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	(void)keyspace;
	(void)call;
	return verb_text(result, "PONG");
}

static enum kv_status run_echo(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	(void)keyspace;
	result->kind = KV_BYTES;
	result->bytes = call->args[0];
	return KV_OK;
}

static enum kv_status run_help(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct list *list = keyspace_list(keyspace);
	char line[256], usage[USAGE_MAX];

	(void)call;
	for (const struct command *command = commands; command->name != NULL; command++) {
		int length;

		command_usage(command, usage);
		length = snprintf(line, sizeof(line), "%s: %s", usage, command->help);
		if (list_add(list, KV_TEXT, (struct slice){ line, (size_t)length }) == -1)
			return KV_NO_MEMORY;
	}
	return verb_list(list, result);
}

/* --- the rows --- */

#define NAME(name_) .name = (name_), .name_length = sizeof(name_) - 1
/* Arguments. */
/* clang-format off */
#define KEY { ARG_KEY, 0, "key", 0 }
#define KEYS { ARG_KEY, ARG_MANY, "key", 0 }
#define NEW_KEY { ARG_KEY, 0, "newkey", 0 }
#define VALUE { ARG_REST, 0, "value", 0 }
#define NUMBER { ARG_INTEGER, 0, "n", 0 }
#define SECONDS { ARG_DURATION, 0, "seconds", 1000 }
#define MS { ARG_DURATION, 0, "ms", 1 }
/* clang-format on */

const struct command commands[] = {
	{ NAME("GET"), .args = { KEY }, .flags = COMMAND_TERSE, .run = run_get,
	    .help = "The value of the key." },
	{ NAME("SET"), .args = { KEY, VALUE }, .flags = COMMAND_GROWS | COMMAND_TERSE,
	    .run = run_set, .help = "Sets the key to the value." },
	{ NAME("DEL"), .args = { KEY }, .flags = COMMAND_TERSE | COMMAND_WRITES, .run = run_del,
	    .done = "DELETED\n", .help = "Deletes the key." },
	{ NAME("INCR"), .args = { KEY }, .flags = COMMAND_GROWS, .run = run_incr,
	    .help = "Adds 1 to the number that is the value." },
	{ NAME("MGET"), .args = { KEYS }, .run = run_mget, .help = "The values of the keys." },
	{ NAME("SETEX"), .args = { KEY, SECONDS, VALUE }, .flags = COMMAND_GROWS, .run = run_setex,
	    .help = "Sets the key to the value; it expires after that time." },
	{ NAME("EXPIRE"), .args = { KEY, SECONDS }, .flags = COMMAND_GROWS, .run = run_expire,
	    .help = "Lets the key expire after that time." },
	{ NAME("TTL"), .args = { KEY }, .run = run_ttl, .reply = REPLY_TIME,
	    .help = "The seconds until the key expires." },
	{ NAME("EXISTS"), .args = { KEYS }, .run = verb_exists,
	    .help = "How many of the keys exist." },
	{ NAME("GETS"), .args = { KEY }, .run = run_gets, .flags = COMMAND_LINES,
	    .help = "The digest of the value, and the value." },
	{ NAME("CAS"), .args = { KEY, { ARG_BYTES, 0, "digest", 0 }, VALUE },
	    .flags = COMMAND_GROWS | COMMAND_LINES, .run = run_cas,
	    .help = "Sets the key to the value if its value still has that digest." },
	{ NAME("DELIFEQ"), .args = { KEY, VALUE }, .run = run_delifeq, .done = "DELETED\n",
	    .reply = REPLY_DONE, .flags = COMMAND_WRITES,
	    .help = "Deletes the key if that is its value." },
	{ NAME("SETNX"), .args = { KEY, VALUE }, .flags = COMMAND_GROWS, .run = run_setnx,
	    .reply = REPLY_DONE, .help = "Sets the key to the value unless it exists." },
	{ NAME("PSETEX"), .args = { KEY, MS, VALUE }, .flags = COMMAND_GROWS, .run = run_setex,
	    .help = "Sets the key to the value; it expires after that time." },
	{ NAME("GETDEL"), .args = { KEY }, .run = run_getdel,
	    .flags = COMMAND_WRITES | COMMAND_OLD_VALUE,
	    .help = "The value of the key, which is deleted." },
	{ NAME("GETSET"), .args = { KEY, VALUE }, .flags = COMMAND_GROWS | COMMAND_OLD_VALUE,
	    .run = run_getset, .help = "Sets the key to the value; the value before." },
	{ NAME("APPEND"), .args = { KEY, VALUE }, .flags = COMMAND_GROWS, .run = run_append,
	    .help = "Appends to the value; its new length." },
	{ NAME("STRLEN"), .args = { KEY }, .run = run_strlen, .help = "The length of the value." },
	{ NAME("DECR"), .args = { KEY }, .flags = COMMAND_GROWS, .run = run_decr,
	    .help = "Subtracts 1 from the number that is the value." },
	{ NAME("INCRBY"), .args = { KEY, NUMBER }, .flags = COMMAND_GROWS, .run = run_incrby,
	    .help = "Adds n to the number that is the value." },
	{ NAME("DECRBY"), .args = { KEY, NUMBER }, .flags = COMMAND_GROWS, .run = run_decrby,
	    .help = "Subtracts n from the number that is the value." },
	{ NAME("PEXPIRE"), .args = { KEY, MS }, .flags = COMMAND_GROWS, .run = run_expire,
	    .help = "Lets the key expire after that time." },
	{ NAME("EXPIREAT"), .args = { KEY, { ARG_DURATION, 0, "unix", 1000 } },
	    .flags = COMMAND_GROWS, .run = run_expireat,
	    .help = "Lets the key expire at that time, in seconds since 1970." },
	{ NAME("PERSIST"), .args = { KEY }, .flags = COMMAND_GROWS, .run = run_persist,
	    .help = "Ends the expiry of the key." },
	{ NAME("PTTL"), .args = { KEY }, .run = run_pttl, .reply = REPLY_TIME,
	    .help = "The milliseconds until the key expires." },
	{ NAME("TYPE"), .args = { KEY }, .run = run_type,
	    .help = "string, or none if there is no such key." },
	{ NAME("RENAME"), .args = { KEY, NEW_KEY }, .flags = COMMAND_GROWS, .run = run_rename,
	    .reply = REPLY_NEEDED, .help = "Renames the key; newkey is overwritten." },
	{ NAME("COPY"), .args = { KEY, NEW_KEY }, .flags = COMMAND_GROWS, .run = run_copy,
	    .help = "Copies the key unless newkey exists." },
	{ NAME("KEYS"), .args = { { ARG_PATTERN, ARG_OPTIONAL, "pattern", 0 } }, .run = verb_keys,
	    .help = "The keys that match the glob pattern." },
	{ NAME("SCAN"),
	    .args = { { ARG_BYTES, 0, "cursor", 0 },
		{ ARG_OPTIONS, ARG_OPTIONAL | ARG_MANY, "[MATCH pattern] [COUNT n]", 0 } },
	    .run = run_scan, .help = "The next cursor, 0 at the end, and some keys." },
	{ NAME("DBSIZE"), .run = run_dbsize, .help = "How many keys there are." },
	{ NAME("PING"), .run = run_ping, .help = "Replies PONG." },
	{ NAME("ECHO"), .args = { { ARG_REST, 0, "text", 0 } }, .run = run_echo,
	    .help = "Replies the text." },
	{ NAME("HELP"), .run = run_help, .flags = COMMAND_LINES, .help = "This list." },
	{ NAME("QUIT"), .args = { { ARG_REST, ARG_OPTIONAL, "anything", 0 } },
	    .flags = COMMAND_LOCAL | COMMAND_TERSE | COMMAND_LINES, .done = "BYE\n",
	    .help = "Closes the connection." },
	{ 0 },
};
