/*
 * The functions of the rows in commands_redis.c. Replies and errors are those of Redis 7.2 unless a comment says
 * otherwise.
 */
#ifndef ECHOD_KV_REDIS_VERBS_H
#define ECHOD_KV_REDIS_VERBS_H

#include "kv/command.h"

/* redis_values.c */
command_run redis_decrby, redis_delex, redis_digest, redis_getex, redis_getrange, redis_incrbyfloat,
    redis_mset, redis_msetnx, redis_set, redis_setrange;
/* redis_keys.c */
command_run redis_copy, redis_del, redis_expire, redis_expireat, redis_expiretime, redis_flush,
    redis_memory, redis_object, redis_persist, redis_pexpire, redis_pexpireat, redis_pexpiretime,
    redis_randomkey, redis_renamenx, redis_scan;

/* The request is wrong, KV_INVALID; the text is constant, or in keyspace_list(). */
enum kv_status redis_refuse(struct kv_result *result, const char *text);
enum kv_status redis_refuse_syntax(struct kv_result *result);

#endif
