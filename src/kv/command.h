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
struct list;
struct user;

enum kv_status {
	KV_OK,
	KV_NOT_FOUND,
	KV_EXISTS,  /* and is not overwritten */
	KV_CHANGED, /* since the client has read it */
	KV_NEVER,   /* the key has no expiry */
	/* Errors; nothing has changed. First those of a request that is not run: */
	KV_EMPTY,
	KV_UNKNOWN,
	KV_WRONG_ARGUMENTS,
	KV_NOT_AUTHENTICATED,
	KV_NOT_ALLOWED,     /* to this user, by its rights */
	KV_KEY_NOT_ALLOWED, /* by the patterns of its keys */
	KV_KEY_TOO_LONG,
	KV_PATTERN_TOO_LONG,
	KV_VALUE_TOO_LONG,
	KV_NOT_A_NUMBER,
	KV_OUT_OF_RANGE,
	KV_OVERFLOW, /* of what would be the new number */
	KV_INVALID_EXPIRE,
	KV_INVALID, /* for a reason that the result's bytes say; of a call, its first argument with the code */
	/* and those of the store: */
	KV_TOO_MANY_KEYS, /* for a list in one piece */
	KV_NO_MEMORY,     /* for the reply */
	KV_FULL,          /* out of memory or past its limit */
	KV_LOADING,       /* the store is being loaded */
	KV_UNAVAILABLE,   /* the store takes no changes at the moment */
	KV_STATUSES
};

/* Arguments behind the key. */
#define CALL_ARGS 4

/* What most calls need comes first: it fills a cache line. */
struct call {
	const struct command *command; /* of KV_EMPTY, KV_UNKNOWN and KV_NO_MEMORY it is not set */
	struct table_key key;          /* hashed by engine_ops.prepare */
	enum kv_status status;         /* KV_OK = it may be submitted */
	uint64_t from;                 /* 0, or the `next` of the part of a list before this one */
	size_t arg_count, more_count;
	struct slice args[CALL_ARGS]; /* as the command's row types them */
	int64_t numbers[CALL_ARGS];   /* of args that are numbers; durations are in ms */
	const struct slice *more;     /* the words of an ARG_MANY argument; the caller's */
	const struct user *user;      /* whose call it is; NULL = there are no users */
};

/* What a result carries besides its status. */
enum kv_kind {
	KV_NOTHING,
	KV_BYTES,    /* a value */
	KV_DIGESTED, /* a value, and its digest as the number */
	KV_KEY,      /* a key */
	KV_TEXT,     /* a constant text of ours */
	KV_INTEGER,  /* a number */
	KV_LIST,
	KV_PAGE, /* a list whose first item is the cursor of the next one */
};

struct kv_result {
	enum kv_status status;
	enum kv_kind kind;
	struct slice bytes; /* valid until the next call */
	/* Of KV_LIST: the number of all items; -1 = it is known only after the last part. */
	int64_t integer;
	const struct list *list; /* valid until the next call */
	/* Of KV_LIST: call.from for the next part; 0 = this is the last one. */
	uint64_t next;
	/* The reply waits until engine_host.committed reports this commit; 0 = it need not. */
	uint64_t commit;
};

enum arg_type {
	ARG_END,
	ARG_KEY,      /* the first one becomes call.key */
	ARG_BYTES,    /* any word */
	ARG_REST,     /* all that is left of a line, with its inner white space */
	ARG_INTEGER,  /* 64 bits, with a sign */
	ARG_DURATION, /* or a time: an integer in units of arg.scale ms */
	ARG_PATTERN,  /* a glob pattern */
	ARG_CHANNEL,  /* of messages; a user may use those that are named as its keys */
	ARG_CHANNELS, /* a glob pattern of them */
	ARG_OPTIONS,  /* words in any order; the name is their usage */
	ARG_PAIRS,    /* keys and values in turn */
};

#define ARG_OPTIONAL 1u
#define ARG_MANY 2u /* the last argument: one or more */

struct arg {
	enum arg_type type;
	unsigned flags;
	const char *name; /* for usage */
	int64_t scale;
};

enum command_flags {
	COMMAND_GROWS = 1,   /* may need memory; its arguments are checked against max_value */
	COMMAND_LOCAL = 2,   /* the connection replies to it: it has no run() */
	COMMAND_TERSE = 4,   /* lines call a wrong number of words an unknown command */
	COMMAND_WRITES = 8,  /* may change keys; implied by COMMAND_GROWS */
	COMMAND_LINES = 16,  /* clients of Redis do not have it */
	COMMAND_PARENT = 32, /* its first argument is the name of a command within it */
	COMMAND_OLD_VALUE =
	    64, /* replies the value that it deletes or replaces; has COMMAND_READS, too */
	COMMAND_UNQUEUED = 128,   /* is run between MULTI and EXEC, too */
	COMMAND_SCRIPT = 256,     /* stands for another one, see kv/script.h: it has no run() */
	COMMAND_SUBSCRIBED = 512, /* is run for subscribers in RESP2, too */
	/* The rights that it needs, besides that to write for one that may: */
	COMMAND_READS = 1024,    /* to read; implied if it is neither local nor writes */
	COMMAND_ADMIN = 2048,    /* only that to administer */
	COMMAND_OPEN = 4096,     /* none, not even a login */
	COMMAND_ALL_KEYS = 8192, /* to use all keys */
};

/* What a protocol with types replies to a status that is no error. */
enum command_reply {
	REPLY_VALUE,  /* null for what is not there */
	REPLY_DONE,   /* 1 = it is done, 0 = it is not */
	REPLY_TIME,   /* -1 = never, -2 = there is no such key */
	REPLY_NEEDED, /* a missing key is an error */
};

/* Runs a call: fills in what the result carries, and returns its status. */
typedef enum kv_status command_run(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result);

/* A command within a command. */
struct subcommand {
	const char *name, *usage, *help; /* the usage is that of the words behind it */
};

struct command {
	const char *name; /* in capitals */
	size_t name_length;
	struct arg args[CALL_ARGS + 2]; /* the key, the arguments, ARG_END */
	unsigned flags;
	command_run *run;
	enum command_reply reply;
	const char *done; /* the line that replies to KV_OK with KV_NOTHING; NULL = "OK\n" */
	const char *help;
	const struct subcommand
	    *within; /* of COMMAND_PARENT, if it is not local; the last row has no name */
};

/* The rows of lines, up to one without a name; a search finds the first ones fastest. */
extern const struct command commands[];
/* Additional rows for clients of Redis; they replace rows of the same name. */
extern const struct command commands_redis[];

/* What the instance's settings allow, bytes. */
struct call_limits {
	size_t max_key, max_value;
};

#define PATTERN_MAX 512 /* bytes; it limits the time that a key takes, see kv/glob.h */

/* Finds the row with exactly that name, in any case. NULL = there is none. */
const struct command *command_find(struct slice name);

/* Rows by their name. Zeroed = empty. */
#define COMMAND_SLOTS 512
#define COMMAND_NAME_MAX 32 /* bytes */
struct command_index {
	const struct command *slots[COMMAND_SLOTS];
};

/* Adds a row, unless it has COMMAND_LINES or the index has its name already. */
void command_index_add(struct command_index *index, const struct command *row);
/* As command_find(). */
const struct command *command_index_find(const struct command_index *index, struct slice name);

/*
 * Makes a call of a request's words behind the command's name, and returns its status. Words of an ARG_MANY argument
 * are not copied: they must live as long as the call.
 */
enum kv_status command_read(const struct command *command, const struct slice *words, size_t count,
    const struct call_limits *limits, struct call *call);

/* An integer as Redis writes it: no plus, no leading zeros. KV_OK, KV_NOT_A_NUMBER or KV_OUT_OF_RANGE. */
enum kv_status command_number(struct slice word, int64_t *number);

#define USAGE_MAX 96
/* Writes the name and the arguments, "TTL key", as a string; returns its length. */
size_t command_usage(const struct command *command, char usage[USAGE_MAX]);

#endif
