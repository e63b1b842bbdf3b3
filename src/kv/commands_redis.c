/* The rows that only clients of Redis have: commands that lines lack, and commands with more options. */
#include "kv/command.h"
#include "kv/redis_verbs.h"
#include "kv/verb.h"

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
	    .flags = COMMAND_GROWS, .run = redis_set, .help = "Sets the key to the value." },
	{ NAME("GETEX"), .args = { KEY, OPTIONS(EXPIRY_OPTIONS " | PERSIST]") },
	    .flags = COMMAND_GROWS, .run = redis_getex,
	    .help = "The value of the key, whose expiry is set or ended." },
	{ NAME("MSET"), .args = { KEY, VALUE, PAIRS }, .flags = COMMAND_GROWS, .run = redis_mset,
	    .help = "Sets the keys to the values." },
	{ NAME("MSETNX"), .args = { KEY, VALUE, PAIRS }, .flags = COMMAND_GROWS,
	    .run = redis_msetnx, .reply = REPLY_DONE,
	    .help = "Sets the keys to the values unless one of the keys exists." },
	{ NAME("GETRANGE"), .args = { KEY, NUMBER("start"), NUMBER("end") }, .run = redis_getrange,
	    .help = "A part of the value." },
	{ NAME("SUBSTR"), .args = { KEY, NUMBER("start"), NUMBER("end") }, .run = redis_getrange,
	    .help = "The same, by its old name." },
	{ NAME("SETRANGE"), .args = { KEY, NUMBER("offset"), VALUE }, .flags = COMMAND_GROWS,
	    .run = redis_setrange, .help = "Overwrites a part of the value; its new length." },
	{ NAME("DECRBY"), .args = { KEY, NUMBER("n") }, .flags = COMMAND_GROWS, .run = redis_decrby,
	    .help = "Subtracts n from the number that is the value." },
	{ NAME("INCRBYFLOAT"), .args = { KEY, { ARG_BYTES, 0, "number", 0 } },
	    .flags = COMMAND_GROWS, .run = redis_incrbyfloat,
	    .help = "Adds to the decimal number that is the value." },
	{ NAME("DIGEST"), .args = { KEY }, .run = redis_digest,
	    .help = "The digest of the value, XXH3-64." },
	{ NAME("DELEX"), .args = { KEY, OPTIONS(IF_OPTIONS) }, .flags = COMMAND_WRITES,
	    .run = redis_delex, .reply = REPLY_DONE,
	    .help = "Deletes the key if its value is, or is not, that." },
	{ NAME("EXPIRE"), .args = { KEY, TIME("seconds"), EXPIRE_OPTIONS }, .flags = COMMAND_GROWS,
	    .run = redis_expire, .reply = REPLY_DONE,
	    .help = "Lets the key expire after that time." },
	{ NAME("PEXPIRE"), .args = { KEY, TIME("ms"), EXPIRE_OPTIONS }, .flags = COMMAND_GROWS,
	    .run = redis_pexpire, .reply = REPLY_DONE,
	    .help = "Lets the key expire after that time." },
	{ NAME("EXPIREAT"), .args = { KEY, TIME("unix"), EXPIRE_OPTIONS }, .flags = COMMAND_GROWS,
	    .run = redis_expireat, .reply = REPLY_DONE,
	    .help = "Lets the key expire at that time, in seconds since 1970." },
	{ NAME("PEXPIREAT"), .args = { KEY, TIME("unix-ms"), EXPIRE_OPTIONS },
	    .flags = COMMAND_GROWS, .run = redis_pexpireat, .reply = REPLY_DONE,
	    .help = "Lets the key expire at that time, in milliseconds since 1970." },
	{ NAME("EXPIRETIME"), .args = { KEY }, .run = redis_expiretime, .reply = REPLY_TIME,
	    .help = "When the key expires, in seconds since 1970." },
	{ NAME("PEXPIRETIME"), .args = { KEY }, .run = redis_pexpiretime, .reply = REPLY_TIME,
	    .help = "When the key expires, in milliseconds since 1970." },
	{ NAME("PERSIST"), .args = { KEY }, .flags = COMMAND_GROWS, .run = redis_persist,
	    .reply = REPLY_DONE, .help = "Ends the expiry of the key." },
	{ NAME("DEL"), .args = { KEYS }, .flags = COMMAND_WRITES, .run = redis_del,
	    .help = "Deletes the keys; how many there were." },
	{ NAME("UNLINK"), .args = { KEYS }, .flags = COMMAND_WRITES, .run = redis_del,
	    .help = "Deletes the keys; how many there were." },
	{ NAME("TOUCH"), .args = { KEYS }, .run = verb_exists,
	    .help = "How many of the keys exist." },
	{ NAME("RENAMENX"), .args = { KEY, NEW_KEY }, .flags = COMMAND_GROWS, .run = redis_renamenx,
	    .reply = REPLY_NEEDED, .help = "Renames the key unless newkey exists." },
	{ NAME("COPY"), .args = { KEY, NEW_KEY, OPTIONS("[DB 0] [REPLACE]") },
	    .flags = COMMAND_GROWS, .run = redis_copy, .reply = REPLY_DONE,
	    .help = "Copies the key." },
	{ NAME("KEYS"), .args = { { ARG_PATTERN, 0, "pattern", 0 } }, .run = verb_keys,
	    .help = "The keys that match the glob pattern." },
	{ NAME("SCAN"),
	    .args = { { ARG_BYTES, 0, "cursor", 0 },
		OPTIONS("[MATCH pattern] [COUNT n] [TYPE type]") },
	    .run = redis_scan, .help = "The next cursor, 0 at the end, and some keys." },
	{ NAME("RANDOMKEY"), .run = redis_randomkey, .help = "Some key." },
	{ NAME("FLUSHDB"), .args = { { ARG_BYTES, ARG_OPTIONAL, "ASYNC | SYNC", 0 } },
	    .flags = COMMAND_WRITES, .run = redis_flush, .help = "Deletes all keys." },
	{ NAME("FLUSHALL"), .args = { { ARG_BYTES, ARG_OPTIONAL, "ASYNC | SYNC", 0 } },
	    .flags = COMMAND_WRITES, .run = redis_flush, .help = "Deletes all keys." },
	{ NAME("OBJECT"), .args = { WHAT, KEY }, .flags = COMMAND_PARENT, .run = redis_object,
	    .help = "How the value is stored." },
	{ NAME("MEMORY"), .args = { WHAT, KEY, OPTIONS("[SAMPLES n]") }, .flags = COMMAND_PARENT,
	    .run = redis_memory, .help = "The memory that the key takes." },
	{ 0 },
};
