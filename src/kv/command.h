/*
 * The commands: one row each, in commands.c. Every protocol finds, checks and runs a command by its row. Rows are
 * constant. A call is a request that has been checked; its bytes are those of the request.
 */
#ifndef ECHOD_KV_COMMAND_H
#define ECHOD_KV_COMMAND_H

#include <stddef.h>
#include <stdint.h>

#include "core/slice.h"
#include "kv/table.h"

struct command;
struct keyspace;

/* Arguments behind the key. */
#define CALL_ARGS 4

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
	KV_LOADING,     /* the store is being loaded */
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

enum arg_type {
	ARG_END,
	ARG_KEY,  /* becomes call.key */
	ARG_REST, /* all that is left of a line, with its inner white space */
};

#define ARG_OPTIONAL 1u

struct arg {
	enum arg_type type;
	unsigned flags;
	const char *name; /* for usage */
};

enum command_flags {
	COMMAND_GROWS = 1, /* stores its arguments: they are checked against max_value */
	COMMAND_LOCAL = 2, /* is answered by the connection: it has no run() */
};

struct command {
	const char *name; /* in capitals */
	size_t name_length;
	struct arg args[CALL_ARGS + 2]; /* the key, the arguments, ARG_END */
	unsigned flags;
	/* Fills in what the result carries, and returns its status. */
	enum kv_status (*run)(
	    struct keyspace *keyspace, const struct call *call, struct kv_result *result);
	const char *done; /* the line that replies to KV_OK with KV_NOTHING; NULL = "OK\n" */
	const char *help;
};

/* All rows, up to one without a name; the first are found fastest. */
extern const struct command commands[];

/* What the instance's settings allow, bytes. */
struct call_limits {
	size_t max_key, max_value;
};

/* Finds the row with exactly that name, in any case. NULL = there is none. */
const struct command *command_find(struct slice name);

/*
 * Makes a call of a request's words behind the command's name. NULL, or the constant text of the error, without a
 * line end; the call is not one then.
 */
const char *command_read(const struct command *command, const struct slice *words, size_t count,
    const struct call_limits *limits, struct call *call);

#endif
