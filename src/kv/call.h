/*
 * A call: one request to a store, in whatever protocol it arrived, and its result. Both live on the stack of the
 * protocol that serves it; the bytes they point to belong to the input and to the store.
 */
#ifndef ECHOD_KV_CALL_H
#define ECHOD_KV_CALL_H

#include <stdint.h>

#include "core/slice.h"
#include "kv/table.h"

/* Arguments behind the key. */
#define CALL_ARGS 4

struct command;

struct call {
	const struct command
	    *command;                 /* NULL = the request is none; such a call is not submitted */
	struct table_key key;         /* hashed by engine_ops.prepare */
	struct slice args[CALL_ARGS]; /* as the command's row types them */
	size_t arg_count;
};

enum kv_status {
	KV_OK,
	KV_NOT_FOUND,
	KV_FULL,        /* out of memory or past its limit; nothing has changed */
	KV_UNAVAILABLE, /* the store takes no changes at the moment; nothing has changed */
	KV_STATUSES
};

/* What a result carries besides its status. */
enum kv_kind { KV_NOTHING, KV_BYTES, KV_INTEGER };

struct kv_result {
	enum kv_status status;
	enum kv_kind kind;
	struct slice bytes; /* of KV_BYTES; valid until the next call */
	int64_t integer;    /* of KV_INTEGER */
	uint64_t
	    commit; /* not to be replied before engine_host.committed reports it; 0 = it is durable */
};

#endif
