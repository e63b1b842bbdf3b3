/*
 * The functions of the rows in commands.c, and the steps that these and those of Redis have in common. What they put into
 * the result is valid as there.
 */
#ifndef ECHOD_KV_VERB_H
#define ECHOD_KV_VERB_H

#include <stdbool.h>
#include <stdint.h>

#include "kv/command.h"

struct item;
struct list;

/* verb_values.c */
command_run verb_append, verb_cas, verb_decr, verb_decrby, verb_del, verb_delifeq, verb_get,
    verb_getdel, verb_gets, verb_getset, verb_incr, verb_incrby, verb_set, verb_setex, verb_setnx,
    verb_strlen;
/* verb_keys.c */
command_run verb_copy, verb_dbsize, verb_exists, verb_expire, verb_expireat, verb_persist,
    verb_pttl, verb_rename, verb_ttl, verb_type;
/* verb_lists.c; the pattern of KEYS may be missing */
command_run verb_keys, verb_mget, verb_scan;

/* --- steps --- */

/* Whether it is that name, in any case. */
bool verb_is_word(struct slice word, const char *name);
/* Whether it is one of the rows within the command. */
bool verb_has_subcommand(const struct command *command, struct slice name);
/* XXH3 with 64 bits, as a number and as a string of 16 hexadecimal digits. */
int64_t verb_digest(struct slice value);
void verb_write_digest(struct slice value, char hex[17]);

/* Sets the key, unless the value is too long. */
enum kv_status verb_put(
    struct keyspace *keyspace, const struct table_key *key, struct slice value, int64_t expires);
/* Adds to the number that is the value; the new one is the result. */
enum kv_status verb_add(
    struct keyspace *keyspace, const struct table_key *key, int64_t by, struct kv_result *result);
/* Replaces the item of a key that keyspace_get() has found by one with that expiry; deletes the key if that is past. */
enum kv_status verb_set_expiry(struct keyspace *keyspace, const struct table_key *key,
    const struct item *item, int64_t expires);

/* Makes a copy of the bytes the result; keyspace_list() owns it. */
enum kv_status verb_copy_bytes(
    struct keyspace *keyspace, struct slice bytes, struct kv_result *result);
/* Does that with the value of the call's key, because the next change frees the value. */
enum kv_status verb_copy_value(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result);

/* Results, with KV_OK. */
enum kv_status verb_text(struct kv_result *result, const char *text);
enum kv_status verb_integer(struct kv_result *result, int64_t number);
/* Seconds, rounded as Redis does. */
enum kv_status verb_seconds(struct kv_result *result, int64_t ms);
enum kv_status verb_list(const struct list *list, struct kv_result *result);

#define VERB_PAGE 10 /* keys, unless the client asks for another number */

#define VERB_GROUP 16 /* keys that are prefetched together */

/* Hashes and prefetches the keys of a call from the n-th one on. Returns how many, at most VERB_GROUP. */
size_t verb_prepare_keys(const struct keyspace *keyspace, const struct call *call, size_t n,
    struct table_key keys[VERB_GROUP]);

/* The cursor of a page: a number of 64 bits without a sign. */
enum kv_status verb_cursor(struct slice word, uint64_t *cursor);
/* About `count` keys from the cursor on, of those that match and that the call's user may use; pattern NULL = all. */
enum kv_status verb_page(struct keyspace *keyspace, const struct call *call, uint64_t cursor,
    const struct slice *pattern, int64_t count, struct kv_result *result);

#endif
