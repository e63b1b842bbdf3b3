/*
 * The commands of RESP about the server, and the rows of these commands and of those about the connection. COMMAND
 * replies what the rows of all commands say.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/time.h>

#include "core/clock.h"
#include "kv/engine.h"
#include "kv/glob.h"
#include "kv/row.h"
#include "kv/verb.h"
#include "net/instance.h"
#include "net/replies.h"
#include "net/settings.h"
#include "services/kv.h"
#include "services/kv_resp.h"
#include "services/resp_request.h"
#include "services/resp_words.h"

/* --- COMMAND --- */

/* The numbers of a command in the reply to COMMAND, from its row. */
struct shape {
	int64_t arity;             /* words with the name, negative = at least so many */
	int64_t first, last, step; /* keys */
};

static struct shape shape_of(const struct command *command)
{
	struct shape shape = { .arity = 1 };
	bool more = false;
	int64_t n = 1;

	for (const struct arg *arg = command->args; arg->type != ARG_END; arg++, n++) {
		more |= arg->flags & (ARG_OPTIONAL | ARG_MANY);
		shape.arity += !(arg->flags & ARG_OPTIONAL);
		if (arg->type == ARG_KEY) {
			shape.first = shape.first == 0 ? n : shape.first;
			shape.last = arg->flags & ARG_MANY ? -1 : n;
			shape.step = 1;
		} else if (arg->type == ARG_PAIRS) {
			shape.last = -1;
			shape.step = 2;
		}
	}
	if (more)
		shape.arity = -shape.arity;
	return shape;
}

bool resp_count_fits(const struct command *command, size_t words)
{
	int64_t arity = shape_of(command).arity;

	return arity > 0 ? words == (size_t)arity : words >= (size_t)-arity;
}

static void add_name(struct replies *replies, const struct command *command)
{
	char name[RESP_NAME_MAX];

	resp_write_name(command, (struct slice){ "", 0 }, name);
	resp_text(replies, name);
}

static void add_info(struct resp_request *r, const struct command *command)
{
	bool writes = command->flags & (COMMAND_WRITES | COMMAND_GROWS);
	bool local = command->flags & COMMAND_LOCAL, grows = command->flags & COMMAND_GROWS;
	bool moves = command->flags & COMMAND_SCRIPT; /* its keys; COMMAND GETKEYS finds them */
	struct shape shape = shape_of(command);
	struct replies *replies = r->replies;

	resp_array(replies, 10);
	add_name(replies, command);
	resp_integer(replies, shape.arity);
	resp_set(replies, r->version, 1 + (size_t)(grows || local) + moves);
	resp_status(replies, local ? "loading" : writes ? "write" : "readonly");
	if (grows || local)
		resp_status(replies, local ? "stale" : "denyoom");
	if (moves)
		resp_status(replies, "movablekeys");
	resp_integer(replies, shape.first);
	resp_integer(replies, shape.last);
	resp_integer(replies, shape.step);
	resp_set(replies, r->version, 1);
	resp_status(replies, local ? "@connection" : writes ? "@write" : "@read");
	resp_array(replies, 0); /* tips */
	resp_array(replies, 0); /* key specifications */
	resp_array(replies, 0); /* subcommands */
}

static void add_docs(struct resp_request *r, const struct command *command)
{
	add_name(r->replies, command);
	resp_map(r->replies, r->version, 3);
	resp_pair(r->replies, "summary", command->help);
	resp_pair(r->replies, "since", "1.0.0");
	resp_pair(r->replies, "group",
	    command->flags & COMMAND_LOCAL     ? "connection"
	    : command->args[0].type == ARG_KEY ? "string"
					       : "generic");
}

static size_t count_commands(const struct command_index *index)
{
	size_t count = 0;

	for (size_t i = 0; i < COMMAND_SLOTS; i++)
		count += index->slots[i] != NULL;
	return count;
}

static enum verdict command_all(struct resp_request *r)
{
	const struct command_index *index = &r->kv->redis;

	resp_array(r->replies, count_commands(index));
	for (size_t i = 0; i < COMMAND_SLOTS; i++)
		if (index->slots[i] != NULL)
			add_info(r, index->slots[i]);
	return VERDICT_CONTINUE;
}

static enum verdict command_count(struct resp_request *r)
{
	resp_integer(r->replies, (int64_t)count_commands(&r->kv->redis));
	return VERDICT_CONTINUE;
}

static enum verdict command_info(struct resp_request *r)
{
	if (r->words == 0)
		return command_all(r);
	resp_array(r->replies, r->words);
	while (r->words > 0) {
		const struct command *command =
		    command_index_find(&r->kv->redis, resp_next_word(r));

		if (command != NULL)
			add_info(r, command);
		else
			resp_null(r->replies, r->version);
	}
	return VERDICT_CONTINUE;
}

static enum verdict command_docs(struct resp_request *r)
{
	const struct command_index *index = &r->kv->redis;
	struct resp_request ahead = *r;
	size_t found = 0;

	if (r->words == 0) {
		resp_map(r->replies, r->version, count_commands(index));
		for (size_t i = 0; i < COMMAND_SLOTS; i++)
			if (index->slots[i] != NULL)
				add_docs(r, index->slots[i]);
		return VERDICT_CONTINUE;
	}
	while (ahead.words > 0)
		found += command_index_find(index, resp_next_word(&ahead)) != NULL;
	resp_map(r->replies, r->version, found);
	while (r->words > 0) {
		const struct command *command = command_index_find(index, resp_next_word(r));

		if (command != NULL)
			add_docs(r, command);
	}
	return VERDICT_CONTINUE;
}

static enum verdict command_list(struct resp_request *r)
{
	const struct command_index *index = &r->kv->redis;

	resp_array(r->replies, count_commands(index));
	for (size_t i = 0; i < COMMAND_SLOTS; i++)
		if (index->slots[i] != NULL)
			add_name(r->replies, index->slots[i]);
	return VERDICT_CONTINUE;
}

static size_t count_keys(const struct shape *shape, size_t words)
{
	int64_t last = shape->last < 0 ? (int64_t)words + shape->last : shape->last;

	return shape->first == 0 || last < shape->first
		   ? 0
		   : (size_t)((last - shape->first) / shape->step) + 1;
}

/* The keys of a script are counted by its second argument; it need not have any. */
static enum verdict reply_script_keys(struct resp_request *r)
{
	int64_t keys;

	resp_next_word(r);
	if (command_number(resp_next_word(r), &keys) != KV_OK || keys < 0 ||
	    keys > (int64_t)r->words)
		keys = 0;
	resp_array(r->replies, (size_t)keys);
	while (keys-- > 0)
		resp_bulk(r->replies, resp_next_word(r));
	return VERDICT_CONTINUE;
}

static enum verdict command_getkeys(struct resp_request *r)
{
	size_t words = r->words, keys;
	const struct command *command = command_index_find(&r->kv->redis, resp_next_word(r));
	bool is_script;
	struct shape shape;

	if (command == NULL)
		return resp_fail(r, "ERR Invalid command specified");
	shape = shape_of(command);
	is_script = command->flags & COMMAND_SCRIPT;
	if (shape.first == 0 && !is_script)
		return resp_fail(r, "ERR The command has no key arguments");
	if (!resp_count_fits(command, words))
		return resp_fail(r, "ERR Invalid number of arguments specified for command");
	if (is_script)
		return reply_script_keys(r);
	keys = count_keys(&shape, words);
	resp_array(r->replies, keys);
	for (int64_t n = 1; r->words > 0 && keys > 0; n++) {
		struct slice word = resp_next_word(r);

		if (n < shape.first || (n - shape.first) % shape.step != 0)
			continue;
		resp_bulk(r->replies, word);
		keys--;
	}
	return VERDICT_CONTINUE;
}

static const struct resp_within command_rows[] = {
	{ { "COUNT", "", "How many commands there are." }, 0, 0, command_count },
	{ { "INFO", "[command...]", "The commands with their numbers of words, flags and keys." },
	    0, SIZE_MAX, command_info },
	{ { "DOCS", "[command...]", "What the commands do." }, 0, SIZE_MAX, command_docs },
	{ { "GETKEYS", "command [argument...]", "The keys of that request." }, 2, SIZE_MAX,
	    command_getkeys },
	{ { "LIST", "", "The names of the commands." }, 0, 0, command_list },
	{ { 0 }, 0, 0, NULL },
};

static enum verdict run_command(struct resp_request *r)
{
	return r->words == 0 ? command_all(r) : resp_run_within(r);
}

/* --- CONFIG --- */

enum { SETTINGS = 8 };

/* A setting of Redis, in the alphabetical order of their names. */
struct setting {
	const char *name;
	char value[24];
};

static void setting_add(struct setting **to, const char *name, const char *value)
{
	(*to)->name = name;
	snprintf((*to)++->value, sizeof((*to)->value), "%s", value);
}

static void setting_add_number(struct setting **to, const char *name, int64_t value)
{
	(*to)->name = name;
	snprintf((*to)++->value, sizeof((*to)->value), "%" PRId64, value);
}

static void read_settings(const struct resp_request *r, struct setting settings[SETTINGS])
{
	const struct instance_settings *instance = r->instance->settings;
	struct setting *to = settings;
	struct engine_stats stats;

	r->kv->engine->ops->stats(r->kv->engine, &stats);
	setting_add(&to, "appendonly", stats.durable ? "yes" : "no");
	setting_add(&to, "databases", "1");
	setting_add_number(&to, "maxclients", instance->max_connections);
	setting_add_number(&to, "maxmemory", r->kv->max_memory);
	setting_add(&to, "maxmemory-policy", resp_memory_policy(r->kv));
	setting_add_number(&to, "proto-max-bulk-len", (int64_t)r->kv->limits.max_value);
	setting_add(&to, "save", "");
	setting_add_number(&to, "timeout", instance->idle_timeout / 1000);
}

static enum verdict config_get(struct resp_request *r)
{
	struct setting settings[SETTINGS];
	bool wanted[SETTINGS] = { false };
	size_t count = 0, work = 0;

	read_settings(r, settings);
	while (r->words > 0) {
		struct slice pattern = resp_next_word(r);

		for (size_t i = 0; i < SETTINGS && pattern.length <= PATTERN_MAX; i++)
			wanted[i] |= glob_match(pattern,
			    (struct slice){ settings[i].name, strlen(settings[i].name) }, &work);
	}
	for (size_t i = 0; i < SETTINGS; i++)
		count += wanted[i];
	resp_map(r->replies, r->version, count);
	for (size_t i = 0; i < SETTINGS; i++)
		if (wanted[i])
			resp_pair(r->replies, settings[i].name, settings[i].value);
	return VERDICT_CONTINUE;
}

/* Only the configuration file changes a setting; many programs set what they need at their start, and may find it there. */
static enum verdict config_set(struct resp_request *r)
{
	struct setting settings[SETTINGS];

	read_settings(r, settings);
	if (r->words % 2 != 0)
		return resp_fail_syntax(r);
	while (r->words > 0) {
		struct slice name = resp_next_word(r), value = resp_next_word(r);
		const struct setting *found = settings;

		while (found < settings + SETTINGS && !verb_is_word(name, found->name))
			found++;
		if (found == settings + SETTINGS) {
			resp_errorf(r->replies,
			    "ERR Unknown option or number of arguments for CONFIG SET - '%.*s'",
			    resp_shown(name), name.bytes);
			return VERDICT_CONTINUE;
		}
		if (!slice_is_equal(value, (struct slice){ found->value, strlen(found->value) })) {
			resp_errorf(r->replies,
			    "ERR CONFIG SET failed (possibly related to argument '%s') - can't set "
			    "immutable config",
			    found->name);
			return VERDICT_CONTINUE;
		}
	}
	return resp_ok(r);
}

static const struct resp_within config_rows[] = {
	{ { "GET", "pattern...", "The settings whose names match." }, 1, SIZE_MAX, config_get },
	{ { "SET", "setting value...",
	      "An error, unless it has that value: change the configuration file." },
	    2, SIZE_MAX, config_set },
	{ { "RESETSTAT", "", "No effect." }, 0, 0, resp_ok },
	{ { 0 }, 0, 0, NULL },
};

/* --- features that echod lacks --- */

static enum verdict reply_zero(struct resp_request *r)
{
	resp_integer(r->replies, 0);
	return VERDICT_CONTINUE;
}

static enum verdict reply_empty(struct resp_request *r)
{
	resp_array(r->replies, 0);
	return VERDICT_CONTINUE;
}

static enum verdict run_cluster(struct resp_request *r)
{
	return resp_fail(r, "ERR This instance has cluster support disabled");
}

static const struct resp_within module_rows[] = {
	{ { "LIST", "", "An empty list." }, 0, 0, reply_empty }, { { 0 }, 0, 0, NULL }
};

/* [ASYNC | SYNC] */
static enum verdict function_flush(struct resp_request *r)
{
	struct slice how = resp_next_word(r);

	if (how.length == 0 || verb_is_word(how, "ASYNC") || verb_is_word(how, "SYNC"))
		return resp_ok(r);
	return resp_fail(r, "ERR FUNCTION FLUSH only supports SYNC|ASYNC option");
}

/* [LIBRARYNAME pattern] [WITHCODE] */
static enum verdict function_list(struct resp_request *r)
{
	while (r->words > 0) {
		struct slice word = resp_next_word(r);

		if (verb_is_word(word, "WITHCODE"))
			continue;
		if (verb_is_word(word, "LIBRARYNAME")) {
			if (r->words == 0)
				return resp_fail(r, "ERR library name argument was not given");
			resp_next_word(r);
			continue;
		}
		resp_errorf(r->replies, "ERR Unknown argument %.*s", resp_shown(word), word.bytes);
		return VERDICT_CONTINUE;
	}
	return reply_empty(r);
}

static const struct resp_within function_rows[] = {
	{ { "LIST", "[LIBRARYNAME pattern] [WITHCODE]", "An empty list." }, 0, SIZE_MAX,
	    function_list },
	{ { "FLUSH", "[ASYNC | SYNC]", "No effect." }, 0, 1, function_flush },
	{ { 0 }, 0, 0, NULL },
};

static const struct resp_within latency_rows[] = {
	{ { "LATEST", "", "An empty list." }, 0, 0, reply_empty },
	{ { "HISTORY", "event", "An empty list." }, 1, 1, reply_empty },
	{ { "RESET", "[event...]", "0." }, 0, SIZE_MAX, reply_zero },
	{ { 0 }, 0, 0, NULL },
};

static const struct resp_within slowlog_rows[] = {
	{ { "GET", "[count]", "An empty list." }, 0, 1, reply_empty },
	{ { "LEN", "", "0." }, 0, 0, reply_zero },
	{ { "RESET", "", "No effect." }, 0, 0, resp_ok },
	{ { 0 }, 0, 0, NULL },
};

static enum verdict acl_whoami(struct resp_request *r)
{
	resp_text(r->replies, kv_login_name(r->kv, &r->client->shared.login));
	return VERDICT_CONTINUE;
}

static const struct resp_within acl_rows[] = { { { "WHOAMI", "", "The user." }, 0, 0, acl_whoami },
	{ { 0 }, 0, 0, NULL } };

static enum verdict fail_timeout(struct resp_request *r, enum kv_status status)
{
	return resp_fail(r, status == KV_OK ? "ERR timeout is negative"
					    : "ERR timeout is not an integer or out of range");
}

/* There are no replicas to wait for. */
static enum verdict run_wait(struct resp_request *r)
{
	int64_t replicas, ms = 0;
	enum kv_status status;

	if (command_number(resp_next_word(r), &replicas) != KV_OK)
		return resp_fail_number(r);
	status = command_number(resp_next_word(r), &ms);
	return status != KV_OK || ms < 0 ? fail_timeout(r, status) : reply_zero(r);
}

/*
 * With sync = "always", the reply waits behind those of the client's changes, and they are on the disk then. Otherwise
 * it says at once whether all changes are.
 */
static enum verdict run_waitaof(struct resp_request *r)
{
	int64_t local, replicas, ms = 0;
	enum kv_status status;
	struct engine_stats stats;

	if (command_number(resp_next_word(r), &local) != KV_OK)
		return resp_fail_number(r);
	if (local < 0 || local > 1)
		return resp_fail(r, "ERR value is out of range, value must between 0 and 1");
	if (command_number(resp_next_word(r), &replicas) != KV_OK)
		return resp_fail_number(r);
	if (replicas < 0)
		return resp_fail(r, "ERR value is out of range, must be positive");
	status = command_number(resp_next_word(r), &ms);
	if (status != KV_OK || ms < 0)
		return fail_timeout(r, status);
	r->kv->engine->ops->stats(r->kv->engine, &stats);
	if (local == 1 && !stats.durable)
		return resp_fail(r, "ERR WAITAOF cannot be used when numlocal is set but "
				    "appendonly is disabled.");
	resp_array(r->replies, 2);
	resp_integer(r->replies, stats.durable && (r->kv->always || stats.uncommitted == 0));
	resp_integer(r->replies, 0);
	return VERDICT_CONTINUE;
}

/* --- times --- */

static enum verdict run_time(struct resp_request *r)
{
	struct timeval now;
	char number[24];

	gettimeofday(&now, NULL);
	resp_array(r->replies, 2);
	snprintf(number, sizeof(number), "%lld", (long long)now.tv_sec);
	resp_text(r->replies, number);
	snprintf(number, sizeof(number), "%ld", (long)now.tv_usec);
	resp_text(r->replies, number);
	return VERDICT_CONTINUE;
}

/* The time of the start: what the store had loaded then is on the disk. */
static enum verdict run_lastsave(struct resp_request *r)
{
	resp_integer(r->replies, clock_seconds() - (clock_ms() - r->kv->started) / 1000);
	return VERDICT_CONTINUE;
}

/* --- the rows --- */

/* clang-format off */
#define WITHIN WORD("subcommand"), OPTIONS("[argument...]")
#define ROW_FULL(name_, flags_, run_, within_, help_, ...)                                   \
	{ { NAME(name_), .args = { __VA_ARGS__ }, .flags = COMMAND_LOCAL | (flags_),         \
	    .help = (help_) }, (run_), (within_) }
#define ROW_FLAGS(name, flags, run, ...) ROW_FULL(name, flags, run, NULL, __VA_ARGS__)
#define ROW(name, run, ...) ROW_FLAGS(name, 0, run, __VA_ARGS__)
#define ROW_PARENT(name, rows, ...)                                                           \
	ROW_FULL(name, COMMAND_PARENT, resp_run_within, rows, __VA_ARGS__)
#define ROW_UNQUEUED(name, run, ...) ROW_FLAGS(name, COMMAND_UNQUEUED, run, __VA_ARGS__)
#define ROW_SUBSCRIBED(name, run, ...) ROW_FLAGS(name, COMMAND_SUBSCRIBED, run, __VA_ARGS__)
#define ROW_ALWAYS(name, run, ...)                                                           \
	ROW_FLAGS(name, COMMAND_UNQUEUED | COMMAND_SUBSCRIBED, run, __VA_ARGS__)
#define ROW_SCRIPT(name_, flags_, help_, what)                                               \
	{ .row = { NAME(name_),                                                              \
	    .args = { WORD(what), WORD("numkeys"), OPTIONS("[key...] [argument...]") },      \
	    .flags = COMMAND_SCRIPT | (flags_), .help = (help_) } }
/* clang-format on */

static const struct resp_command resp_commands[] = {
	ROW_FLAGS("PING", COMMAND_SUBSCRIBED | COMMAND_OPEN, resp_run_ping,
	    "Replies PONG, or the message.", OPTIONAL_WORD("message")),
	ROW_FLAGS("HELLO", COMMAND_OPEN, resp_run_hello,
	    "Changes the version of the protocol, and logs in; about the server.",
	    OPTIONS("[2 | 3 [AUTH user password] [SETNAME name]]")),
	ROW_FLAGS("AUTH", COMMAND_OPEN, resp_run_auth,
	    "Logs in as that user (default), by its password or token.", WORD("user"),
	    OPTIONS("[password]")),
	ROW("SELECT", resp_run_select, "Selects the database; there is only 0.", WORD("index")),
	ROW_PARENT("CLIENT", resp_client_rows, "About this connection, and the others.", WITHIN),
	ROW_UNQUEUED("MULTI", resp_run_multi, "Begins a transaction: requests are queued."),
	ROW_UNQUEUED("EXEC", resp_run_exec, "Runs the queued requests, all in one commit."),
	ROW_UNQUEUED("DISCARD", resp_run_discard, "Forgets the queued requests."),
	ROW_FLAGS("WATCH", COMMAND_UNQUEUED | COMMAND_READS, resp_run_watch,
	    "EXEC runs nothing if one of the keys has changed.", KEYS),
	ROW("UNWATCH", resp_run_unwatch, "Watches no key any more."),
	ROW_FLAGS("QUIT", COMMAND_UNQUEUED | COMMAND_SUBSCRIBED | COMMAND_OPEN, resp_run_quit,
	    "Closes the connection.", OPTIONS("[anything]")),
	ROW_ALWAYS("RESET", resp_run_reset, "Makes the connection as new."),
	ROW_FLAGS("SUBSCRIBE", COMMAND_SUBSCRIBED | COMMAND_READS, resp_run_subscribe,
	    "Subscribes to channels.", CHANNELS),
	ROW_FLAGS("PSUBSCRIBE", COMMAND_SUBSCRIBED | COMMAND_READS, resp_run_psubscribe,
	    "Subscribes to the channels that match patterns.", CHANNEL_PATTERNS),
	ROW_SUBSCRIBED("UNSUBSCRIBE", resp_run_unsubscribe,
	    "Ends subscriptions to channels, or to all of them.", OPTIONS("[channel...]")),
	ROW_SUBSCRIBED("PUNSUBSCRIBE", resp_run_punsubscribe,
	    "Ends subscriptions to patterns, or to all of them.", OPTIONS("[pattern...]")),
	ROW_FLAGS("PUBLISH", COMMAND_WRITES, resp_run_publish,
	    "Sends a message to the subscribers of a channel.", CHANNEL, WORD("message")),
	ROW_FULL("PUBSUB", COMMAND_PARENT | COMMAND_READS | COMMAND_ALL_KEYS, resp_run_within,
	    resp_pubsub_rows, "About the channels and their subscribers.", WITHIN),
	ROW_FULL("COMMAND", COMMAND_PARENT, run_command, command_rows, "About the commands.",
	    OPTIONS("[COUNT | INFO | DOCS | GETKEYS | LIST]")),
	ROW("INFO", resp_run_info, "About the server.", OPTIONS("[section...]")),
	ROW_FULL("CONFIG", COMMAND_PARENT | COMMAND_ADMIN, resp_run_within, config_rows,
	    "About the configuration.", WITHIN),
	ROW("TIME", run_time, "The time in seconds, and microseconds."),
	ROW("LASTSAVE", run_lastsave, "When the store was started."),
	ROW("WAIT", run_wait, "Replies 0: there are no replicas.", WORD("replicas"), WORD("ms")),
	ROW("WAITAOF", run_waitaof,
	    "Whether the changes are on the disk, and 0: there are no replicas.", WORD("numlocal"),
	    WORD("replicas"), WORD("ms")),
	ROW_FLAGS("CLUSTER", COMMAND_PARENT, run_cluster, "There is no cluster.", WITHIN),
	ROW("READONLY", run_cluster, "There is no cluster."),
	ROW("READWRITE", run_cluster, "There is no cluster."),
	ROW("ASKING", run_cluster, "There is no cluster."),
	ROW_SCRIPT("EVAL", COMMAND_WRITES, "Does what a known script does.", "script"),
	ROW_SCRIPT("EVALSHA", COMMAND_WRITES, "The same, by the digest of its text.", "sha1"),
	ROW_SCRIPT("EVAL_RO", 0, "EVAL of a script that changes nothing.", "script"),
	ROW_SCRIPT("EVALSHA_RO", 0, "EVALSHA of a script that changes nothing.", "sha1"),
	ROW_PARENT("SCRIPT", resp_script_rows, "About the known scripts that are loaded.", WITHIN),
	ROW_PARENT("FUNCTION", function_rows, "There are no functions.", WITHIN),
	ROW_PARENT("MODULE", module_rows, "There are no modules.", WITHIN),
	ROW_PARENT("ACL", acl_rows, "The user.", WITHIN),
	ROW_PARENT("LATENCY", latency_rows, "There are no events.", WITHIN),
	ROW_PARENT("SLOWLOG", slowlog_rows, "There are no entries.", WITHIN),
};

void resp_commands_add(struct command_index *index)
{
	for (size_t i = 0; i < sizeof(resp_commands) / sizeof(resp_commands[0]); i++)
		command_index_add(index, &resp_commands[i].row);
	for (const struct command *row = commands_redis; row->name != NULL; row++)
		command_index_add(index, row);
	for (const struct command *row = commands; row->name != NULL; row++)
		command_index_add(index, row);
}
