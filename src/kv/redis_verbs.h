/*
 * The functions of the rows in commands_redis.c, which redis_values.c and redis_keys.c define. Replies and errors are those of Redis
 * 7.2 unless a comment says otherwise.
 */
#ifndef ECHOD_KV_REDIS_VERBS_H
#define ECHOD_KV_REDIS_VERBS_H

#include "kv/command.h"

#define REDIS_VERB(name)     \
	enum kv_status name( \
	    struct keyspace *keyspace, const struct call *call, struct kv_result *result)

REDIS_VERB(redis_copy);
REDIS_VERB(redis_decrby);
REDIS_VERB(redis_del);
REDIS_VERB(redis_delex);
REDIS_VERB(redis_digest);
REDIS_VERB(redis_expire);
REDIS_VERB(redis_expireat);
REDIS_VERB(redis_expiretime);
REDIS_VERB(redis_flush);
REDIS_VERB(redis_getex);
REDIS_VERB(redis_getrange);
REDIS_VERB(redis_incrbyfloat);
REDIS_VERB(redis_memory);
REDIS_VERB(redis_mset);
REDIS_VERB(redis_msetnx);
REDIS_VERB(redis_object);
REDIS_VERB(redis_persist);
REDIS_VERB(redis_pexpire);
REDIS_VERB(redis_pexpireat);
REDIS_VERB(redis_pexpiretime);
REDIS_VERB(redis_randomkey);
REDIS_VERB(redis_renamenx);
REDIS_VERB(redis_scan);
REDIS_VERB(redis_set);
REDIS_VERB(redis_setrange);

/* The request is wrong, KV_INVALID; the text is constant, or in keyspace_list(). */
enum kv_status redis_refuse(struct kv_result *result, const char *text);
enum kv_status redis_refuse_syntax(struct kv_result *result);

#endif
