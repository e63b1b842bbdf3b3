/*
 * The known scripts: Lua that client libraries send, each of which stands for a command that does the same here. There is
 * no Lua. A script is known by the SHA-1 of its text, in which white space is folded: each run of it is one blank, and
 * there is none at the ends. Rows are constant; the table has digests and our own words, but no text of a library.
 */
#ifndef ECHOD_KV_SCRIPT_H
#define ECHOD_KV_SCRIPT_H

#include <sha1.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/slice.h"
#include "kv/command.h"

/*
 * What scripts do. call.key is the first of the script's keys, call.args are its arguments, and call.more are its other
 * keys, if it takes any number of them. The command's name is that of the command in the script which an invalid expiry
 * makes fail: the error shows it.
 */
struct script_verb {
	struct command command;
	size_t args;
	bool all_keys;     /* else only the first one counts */
	bool args_in_keys; /* its arguments are given as keys, behind the first one */
};

struct script {
	const char *folded; /* the digest */
	const char *exact;  /* that of the text as the library sends it; NULL = not known */
	const char *library;
	const struct script_verb *verb;
};

/* Up to a row without a digest. */
extern const struct script known_scripts[];

/* The script of that text, and the digest of the text as it is, if it is not too long; NULL = it is not known. */
const struct script *script_find(struct slice text, char exact[SHA1_DIGEST_STRING_LENGTH]);

/* script_locks.c */
command_run script_delete_or_null, script_delete_silently, script_delete_or_missing,
    script_delete_if_not, script_pexpire, script_expire, script_pexpire_or_null,
    script_expire_value, script_extend, script_pttl, script_swap, script_obtain,
    script_obtain_or_null, script_obtain_ok, script_lock, script_claim, script_touch, script_slot,
    script_acquire_all, script_extend_all, script_release_all, script_acquire_all_of,
    script_extend_all_of, script_release_all_of;
/* script_counters.c */
command_run script_add, script_incrby, script_incrby_existing, script_decrby_existing,
    script_value_and_pttl, script_count, script_count_window, script_count_or_reset,
    script_count_from_zero, script_count_or_ban, script_count_backoff, script_count_read,
    script_count_amount;

/* Sets the key for the time that is the word, in units of `scale` ms. */
enum kv_status script_put_for(struct keyspace *keyspace, const struct table_key *key,
    struct slice value, struct slice time, int64_t scale);
/* Lets the key, which exists, expire after the time that is the word. */
enum kv_status script_expire_in(struct keyspace *keyspace, const struct table_key *key,
    struct slice time, int64_t scale, struct kv_result *result);
/* The ms until the key expires, -1 = never, -2 = there is no such key. */
int64_t script_time_left(struct keyspace *keyspace, const struct table_key *key);

#endif
