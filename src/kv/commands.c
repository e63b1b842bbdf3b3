/*
 * The rows of the commands, and those commands that need no keys. The functions of the others are in verb_values.c,
 * verb_keys.c and verb_lists.c. HACKING says how to add one.
 */
#include <stdio.h>

#include "kv/command.h"
#include "kv/keyspace.h"
#include "kv/row.h"
#include "kv/users.h"
#include "kv/verb.h"

static enum kv_status verb_ping(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	(void)keyspace;
	(void)call;
	return verb_text(result, "PONG");
}

static enum kv_status verb_echo(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	(void)keyspace;
	result->kind = KV_BYTES;
	result->bytes = call->args[0];
	return KV_OK;
}

static enum kv_status verb_help(
    struct keyspace *keyspace, const struct call *call, struct kv_result *result)
{
	struct list *list = keyspace_list(keyspace);
	char line[256], usage[USAGE_MAX];

	for (const struct command *command = commands; command->name != NULL; command++) {
		int length;

		if (call->user != NULL && !user_may_run(call->user, command))
			continue;
		command_usage(command, usage);
		length = snprintf(line, sizeof(line), "%s: %s", usage, command->help);
		if (list_add(list, KV_TEXT, (struct slice){ line, (size_t)length }) == -1)
			return KV_NO_MEMORY;
	}
	return verb_list(list, result);
}

/* --- the rows --- */

const struct command commands[] = {
	{ NAME("GET"), .args = { KEY }, .flags = COMMAND_TERSE, .run = verb_get,
	    .help = "The value of the key." },
	{ NAME("SET"), .args = { KEY, REST("value") }, .flags = COMMAND_GROWS | COMMAND_TERSE,
	    .run = verb_set, .help = "Sets the key to the value." },
	{ NAME("DEL"), .args = { KEY }, .flags = COMMAND_TERSE | COMMAND_WRITES, .run = verb_del,
	    .done = "DELETED\n", .help = "Deletes the key." },
	{ NAME("INCR"), .args = { KEY }, .flags = COMMAND_GROWS, .run = verb_incr,
	    .help = "Adds 1 to the number that is the value." },
	{ NAME("MGET"), .args = { KEYS }, .run = verb_mget, .help = "The values of the keys." },
	{ NAME("SETEX"), .args = { KEY, DURATION("seconds", 1000), REST("value") },
	    .flags = COMMAND_GROWS, .run = verb_setex,
	    .help = "Sets the key to the value; it expires after that time." },
	{ NAME("EXPIRE"), .args = { KEY, DURATION("seconds", 1000) }, .flags = COMMAND_GROWS,
	    .run = verb_expire, .help = "Lets the key expire after that time." },
	{ NAME("TTL"), .args = { KEY }, .run = verb_ttl, .reply = REPLY_TIME,
	    .help = "The seconds until the key expires." },
	{ NAME("EXISTS"), .args = { KEYS }, .run = verb_exists,
	    .help = "How many of the keys exist." },
	{ NAME("GETS"), .args = { KEY }, .run = verb_gets, .flags = COMMAND_LINES,
	    .help = "The digest of the value, and the value." },
	{ NAME("CAS"), .args = { KEY, WORD("digest"), REST("value") },
	    .flags = COMMAND_GROWS | COMMAND_LINES, .run = verb_cas,
	    .help = "Sets the key to the value if its value still has that digest." },
	{ NAME("DELIFEQ"), .args = { KEY, REST("value") }, .run = verb_delifeq, .done = "DELETED\n",
	    .reply = REPLY_DONE, .flags = COMMAND_WRITES,
	    .help = "Deletes the key if that is its value." },
	{ NAME("SETNX"), .args = { KEY, REST("value") }, .flags = COMMAND_GROWS, .run = verb_setnx,
	    .reply = REPLY_DONE, .help = "Sets the key to the value unless it exists." },
	{ NAME("PSETEX"), .args = { KEY, DURATION("ms", 1), REST("value") }, .flags = COMMAND_GROWS,
	    .run = verb_setex, .help = "Sets the key to the value; it expires after that time." },
	{ NAME("GETDEL"), .args = { KEY }, .run = verb_getdel,
	    .flags = COMMAND_WRITES | COMMAND_OLD_VALUE | COMMAND_READS,
	    .help = "The value of the key, which is deleted." },
	{ NAME("GETSET"), .args = { KEY, REST("value") },
	    .flags = COMMAND_GROWS | COMMAND_OLD_VALUE | COMMAND_READS, .run = verb_getset,
	    .help = "Sets the key to the value; the value before." },
	{ NAME("APPEND"), .args = { KEY, REST("value") }, .flags = COMMAND_GROWS,
	    .run = verb_append, .help = "Appends to the value; its new length." },
	{ NAME("STRLEN"), .args = { KEY }, .run = verb_strlen, .help = "The length of the value." },
	{ NAME("DECR"), .args = { KEY }, .flags = COMMAND_GROWS, .run = verb_decr,
	    .help = "Subtracts 1 from the number that is the value." },
	{ NAME("INCRBY"), .args = { KEY, INTEGER("n") }, .flags = COMMAND_GROWS, .run = verb_incrby,
	    .help = "Adds n to the number that is the value." },
	{ NAME("DECRBY"), .args = { KEY, INTEGER("n") }, .flags = COMMAND_GROWS, .run = verb_decrby,
	    .help = "Subtracts n from the number that is the value." },
	{ NAME("PEXPIRE"), .args = { KEY, DURATION("ms", 1) }, .flags = COMMAND_GROWS,
	    .run = verb_expire, .help = "Lets the key expire after that time." },
	{ NAME("EXPIREAT"), .args = { KEY, DURATION("unix", 1000) }, .flags = COMMAND_GROWS,
	    .run = verb_expireat,
	    .help = "Lets the key expire at that time, in seconds since 1970." },
	{ NAME("PERSIST"), .args = { KEY }, .flags = COMMAND_GROWS, .run = verb_persist,
	    .help = "Ends the expiry of the key." },
	{ NAME("PTTL"), .args = { KEY }, .run = verb_pttl, .reply = REPLY_TIME,
	    .help = "The milliseconds until the key expires." },
	{ NAME("TYPE"), .args = { KEY }, .run = verb_type,
	    .help = "string, or none if there is no such key." },
	{ NAME("RENAME"), .args = { KEY, NEW_KEY }, .flags = COMMAND_GROWS, .run = verb_rename,
	    .reply = REPLY_NEEDED, .help = "Renames the key; newkey is overwritten." },
	{ NAME("COPY"), .args = { KEY, NEW_KEY }, .flags = COMMAND_GROWS, .run = verb_copy,
	    .help = "Copies the key unless newkey exists." },
	{ NAME("KEYS"), .args = { OPTIONAL_PATTERN }, .flags = COMMAND_ADMIN, .run = verb_keys,
	    .help = "The keys that match the glob pattern." },
	{ NAME("SCAN"), .args = { WORD("cursor"), OPTIONS("[MATCH pattern] [COUNT n]") },
	    .run = verb_scan, .help = "The next cursor, 0 at the end, and some keys." },
	{ NAME("DBSIZE"), .run = verb_dbsize, .help = "How many keys there are." },
	{ NAME("PING"), .flags = COMMAND_OPEN, .run = verb_ping, .help = "Replies PONG." },
	{ NAME("ECHO"), .args = { REST("text") }, .run = verb_echo, .help = "Replies the text." },
	{ NAME("HELP"), .run = verb_help, .flags = COMMAND_LINES | COMMAND_OPEN,
	    .help = "This list." },
	{ NAME("AUTH"), .args = { WORD("name"), REST("password") },
	    .flags = COMMAND_LOCAL | COMMAND_LINES | COMMAND_OPEN,
	    .help = "Logs in as that user, by its password or token." },
	{ NAME("QUIT"), .args = { OPTIONAL_REST("anything") },
	    .flags = COMMAND_LOCAL | COMMAND_TERSE | COMMAND_LINES | COMMAND_OPEN, .done = "BYE\n",
	    .help = "Closes the connection." },
	{ 0 },
};
