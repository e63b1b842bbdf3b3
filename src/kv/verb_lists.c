/*
 * The commands whose result is a list, MGET, KEYS and SCAN. A long list is made in parts, so that each call takes a
 * bounded time.
 */
#include <inttypes.h>
#include <stdio.h>

#include "kv/glob.h"
#include "kv/keyspace.h"
#include "kv/users.h"
#include "kv/verb.h"

/* When a part of a list ends. */
struct part {
	size_t bytes; /* in it, or: */
	size_t keys;  /* and empty buckets that were looked at, or: */
	size_t work;  /* steps of their pattern */
};

static const struct part usual = { .bytes = 64 << 10, .keys = 256, .work = 32 << 10 };
/* A transaction has lists in one piece, so the store refuses it a longer one. */
static const struct part whole = { .bytes = 512 << 10, .keys = SIZE_MAX, .work = SIZE_MAX };

#define SCAN_MAX 512

static struct part part_of(const struct keyspace *keyspace)
{
	return keyspace->in_transaction ? whole : usual;
}

/* call->from is the number of keys in the parts before it. */
enum kv_status verb_mget(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	size_t all = 1 + call->more_count, n = (size_t)call->from;
	struct list *list = keyspace_list(keyspace);
	struct part part = part_of(keyspace);

	while (n < all && list->items.length < part.bytes) {
		struct table_key keys[VERB_GROUP];
		size_t count = verb_prepare_keys(keyspace, call, n, keys);

		for (size_t i = 0; i < count && list->items.length < part.bytes; i++, n++) {
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
	const struct user *user;     /* NULL = there are no users */
	size_t visited, work;
	bool failed;
};

static int add_match(void *arg, const struct slice *key, const struct item *item)
{
	struct match *match = arg;

	(void)item;
	match->visited++;
	if ((match->pattern == NULL || glob_match(*match->pattern, *key, &match->work)) &&
	    (match->user == NULL || user_may_use(match->user, *key, &match->work)))
		match->failed |= list_add(match->list, KV_KEY, *key) == -1;
	return 0;
}

/* Adds the matching keys of a part. Returns the next cursor. */
static uint64_t scan(
    struct keyspace *keyspace, uint64_t cursor, struct match *match, struct part part)
{
	do {
		size_t before = match->visited;

		cursor = keyspace_scan(keyspace, cursor, add_match, match);
		match->visited += match->visited == before;
	} while (cursor != 0 && match->visited < part.keys && match->work < part.work &&
		 match->list->items.length < part.bytes);
	return cursor;
}

enum kv_status verb_page(struct keyspace *keyspace, const struct call *call, uint64_t cursor,
    const struct slice *pattern, int64_t count, struct kv_result *result)
{
	struct match match = {
		.list = keyspace_list(keyspace), .pattern = pattern, .user = call->user
	};
	struct part part = usual;
	char text[24];
	int length;

	part.keys = count < SCAN_MAX ? (size_t)count : SCAN_MAX;
	cursor = scan(keyspace, cursor, &match, part);
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
		.pattern = call->arg_count > 0 ? &call->args[0] : NULL,
		.user = call->user };

	result->next = scan(keyspace, call->from, &match, part_of(keyspace));
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

enum kv_status verb_scan(
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
	return verb_page(keyspace, call, cursor, pattern, count, result);
}
