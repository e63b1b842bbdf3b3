/*
 * What clients of Redis ask about their connection and the server: what client libraries send when they connect, and
 * redis-cli. COMMAND is made of the rows of all commands.
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/time.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "build.h"
#include "core/clock.h"
#include "core/resident.h"
#include "kv/engine.h"
#include "kv/glob.h"
#include "net/client.h"
#include "net/endpoint.h"
#include "net/frame_resp.h"
#include "net/instance.h"
#include "net/listener.h"
#include "net/loop.h"
#include "net/replies.h"
#include "net/settings.h"
#include "net/stream.h"
#include "services/kv.h"
#include "services/kv_resp.h"
#include "services/resp_words.h"

/* The version of Redis whose commands these are; clients decide by it what they may ask. */
#define REDIS_VERSION "7.2.4"
#define NAME_MAX_LENGTH 256 /* bytes of what CLIENT SETNAME and SETINFO set */
#define LISTED_MAX   \
	((size_t)512 \
	    << 10) /* bytes of CLIENT LIST: a longer reply would end a client as a slow reader */

/* --- helpers --- */

static bool is_word(struct slice word, const char *name)
{
	return word.length == strlen(name) && strncasecmp(word.bytes, name, word.length) == 0;
}

static enum verdict reply_ok(struct resp_request *r)
{
	resp_status(r->replies, "OK");
	return VERDICT_CONTINUE;
}

static enum verdict reply_error(struct resp_request *r, const char *text)
{
	resp_error(r->replies, text);
	return VERDICT_CONTINUE;
}

static enum verdict reply_syntax(struct resp_request *r)
{
	return reply_error(r, "ERR syntax error");
}

static enum verdict reply_not_a_number(struct resp_request *r)
{
	return reply_error(r, "ERR value is not an integer or out of range");
}

static enum verdict reply_wrong_count(struct resp_request *r, const char *within)
{
	char name[2 * COMMAND_NAME_MAX];

	snprintf(name, sizeof(name), "%s|%s", r->command->name, within);
	for (char *at = name; *at != '\0'; at++)
		*at = (char)tolower((unsigned char)*at);
	resp_errorf(r->replies, "ERR wrong number of arguments for '%s' command", name);
	return VERDICT_CONTINUE;
}

static void add_pair(struct replies *replies, const char *key, const char *value)
{
	resp_text(replies, key);
	resp_text(replies, value);
}

/* A text that is gathered. */
struct text {
	char *bytes;
	size_t length, size;
	bool failed; /* out of memory, or too long */
};

__attribute__((format(printf, 2, 3))) static void text_add(
    struct text *text, const char *format, ...)
{
	size_t left = text->size - text->length;
	va_list args;
	char *more;
	int length;

	va_start(args, format);
	length = vsnprintf(text->size == 0 ? NULL : text->bytes + text->length, left, format, args);
	va_end(args);
	if ((size_t)length >= left) {
		size_t size = 2 * text->size + (size_t)length + 1;

		more = size > LISTED_MAX ? NULL : realloc(text->bytes, size);
		if (more == NULL) {
			text->failed = true;
			return;
		}
		text->bytes = more;
		text->size = size;
		va_start(args, format);
		vsnprintf(more + text->length, size - text->length, format, args);
		va_end(args);
	}
	text->length += (size_t)length;
}

static enum verdict reply_text(struct resp_request *r, struct text *text)
{
	resp_verbatim(r->replies, r->version, (struct slice){ text->bytes, text->length });
	free(text->bytes);
	return VERDICT_CONTINUE;
}

/* --- commands within a command --- */

struct within {
	const char *name;
	size_t least, most; /* words behind it */
	enum verdict (*run)(struct resp_request *request);
};

static enum verdict run_within(struct resp_request *r, const struct within *rows)
{
	struct slice name = resp_next_word(r);

	for (; rows->name != NULL; rows++) {
		if (!is_word(name, rows->name))
			continue;
		if (r->words < rows->least || r->words > rows->most)
			return reply_wrong_count(r, rows->name);
		return rows->run(r);
	}
	resp_errorf(r->replies, "ERR unknown subcommand '%.*s'. Try %s HELP.",
	    (int)(name.length > 128 ? 128 : name.length), name.bytes, r->command->name);
	return VERDICT_CONTINUE;
}

/* --- the connection --- */

static enum verdict run_ping(struct resp_request *r)
{
	if (r->words == 0)
		resp_status(r->replies, "PONG");
	else
		resp_bulk(r->replies, resp_next_word(r));
	return VERDICT_CONTINUE;
}

static enum verdict run_quit(struct resp_request *r)
{
	resp_status(r->replies, "OK");
	return VERDICT_CLOSE;
}

void resp_names_free(struct resp_names *names)
{
	if (names == NULL)
		return;
	free(names->name);
	free(names->library);
	free(names->version);
	free(names);
}

/* Names are shown in lines with blanks between them. */
static bool is_name(struct slice name)
{
	for (size_t i = 0; i < name.length; i++)
		if (name.bytes[i] < '!' || name.bytes[i] > '~')
			return false;
	return name.length <= NAME_MAX_LENGTH;
}

/* Sets a name of the client, none if it is empty; the offset is that in struct resp_names. */
static bool set_name(struct resp_client *client, size_t offset, struct slice name)
{
	char *copy = NULL, **place;

	if (client->names == NULL && (client->names = calloc(1, sizeof(*client->names))) == NULL)
		return false;
	if (name.length > 0 && (copy = strndup(name.bytes, name.length)) == NULL)
		return false;
	place = (char **)((char *)client->names + offset);
	free(*place);
	*place = copy;
	return true;
}

#define BAD_NAME "ERR Client names cannot contain spaces, newlines or special characters."

static enum verdict run_reset(struct resp_request *r)
{
	struct resp_client *client = r->client;

	resp_names_free(client->names);
	client->names = NULL;
	client->is_resp3 = client->silent = client->skips_next = false;
	resp_status(r->replies, "RESET");
	return VERDICT_CONTINUE;
}

static enum verdict run_select(struct resp_request *r)
{
	int64_t number;

	if (command_number(resp_next_word(r), &number) != KV_OK)
		return reply_not_a_number(r);
	return number == 0 ? reply_ok(r) : reply_error(r, "ERR DB index is out of range");
}

/* There are no users yet: as a Redis without passwords. */
static const char *check_password(struct slice user)
{
	return is_word(user, "default")
		   ? NULL
		   : "WRONGPASS invalid username-password pair or user is disabled.";
}

static enum verdict run_auth(struct resp_request *r)
{
	const char *error;

	if (r->words > 2)
		return reply_syntax(r);
	if (r->words == 1)
		return reply_error(r,
		    "ERR AUTH <password> called without any password configured for the default "
		    "user. Are you sure your configuration is correct?");
	error = check_password(resp_next_word(r));
	return error == NULL ? reply_ok(r) : reply_error(r, error);
}

static void reply_hello(struct resp_request *r)
{
	struct replies *replies = r->replies;
	int version = r->client->is_resp3 ? RESP3 : RESP2;
	struct client client;

	stream_describe(r->stream, &client);
	resp_map(replies, version, 7);
	add_pair(replies, "server", "redis");
	add_pair(replies, "version", REDIS_VERSION);
	resp_text(replies, "proto");
	resp_integer(replies, version);
	resp_text(replies, "id");
	resp_integer(replies, (int64_t)client.id);
	add_pair(replies, "mode", "standalone");
	add_pair(replies, "role", "master");
	resp_text(replies, "modules");
	resp_array(replies, 0);
}

static enum verdict run_hello(struct resp_request *r)
{
	struct slice name = { "", 0 };
	bool named = false, is_resp3 = r->client->is_resp3;
	const char *error;
	int64_t version;

	if (r->words > 0) {
		if (command_number(resp_next_word(r), &version) != KV_OK)
			return reply_error(
			    r, "ERR Protocol version is not an integer or out of range");
		if (version != RESP2 && version != RESP3)
			return reply_error(r, "NOPROTO unsupported protocol version");
		is_resp3 = version == RESP3;
	}
	while (r->words > 0) {
		struct slice option = resp_next_word(r);

		if (is_word(option, "AUTH") && r->words >= 2) {
			error = check_password(resp_next_word(r));
			resp_next_word(r);
			if (error != NULL)
				return reply_error(r, error);
		} else if (is_word(option, "SETNAME") && r->words >= 1) {
			name = resp_next_word(r);
			named = true;
			if (!is_name(name))
				return reply_error(r, BAD_NAME);
		} else {
			resp_errorf(r->replies, "ERR Syntax error in HELLO option '%.*s'",
			    (int)(option.length > 128 ? 128 : option.length), option.bytes);
			return VERDICT_CONTINUE;
		}
	}
	if (named && !set_name(r->client, offsetof(struct resp_names, name), name))
		return reply_error(r, "ERR out of memory");
	r->client->is_resp3 = is_resp3;
	reply_hello(r);
	return VERDICT_CONTINUE;
}

/* --- CLIENT --- */

static enum verdict client_id(struct resp_request *r)
{
	struct client client;

	stream_describe(r->stream, &client);
	resp_integer(r->replies, (int64_t)client.id);
	return VERDICT_CONTINUE;
}

static enum verdict client_getname(struct resp_request *r)
{
	const struct resp_names *names = r->client->names;

	if (names == NULL || names->name == NULL)
		resp_null(r->replies, r->version);
	else
		resp_text(r->replies, names->name);
	return VERDICT_CONTINUE;
}

static enum verdict client_setname(struct resp_request *r)
{
	struct slice name = resp_next_word(r);

	if (!is_name(name))
		return reply_error(r, BAD_NAME);
	if (!set_name(r->client, offsetof(struct resp_names, name), name))
		return reply_error(r, "ERR out of memory");
	return reply_ok(r);
}

static enum verdict client_setinfo(struct resp_request *r)
{
	struct slice what = resp_next_word(r), value = resp_next_word(r);
	bool library = is_word(what, "LIB-NAME");

	if (!library && !is_word(what, "LIB-VER")) {
		resp_errorf(r->replies, "ERR Unrecognized option '%.*s'",
		    (int)(what.length > 128 ? 128 : what.length), what.bytes);
		return VERDICT_CONTINUE;
	}
	if (!is_name(value)) {
		resp_errorf(r->replies,
		    "ERR %s cannot contain spaces, newlines or special characters.",
		    library ? "lib-name" : "lib-ver");
		return VERDICT_CONTINUE;
	}
	if (!set_name(r->client,
		library ? offsetof(struct resp_names, library)
			: offsetof(struct resp_names, version),
		value))
		return reply_error(r, "ERR out of memory");
	return reply_ok(r);
}

static void describe_client(struct text *text, struct stream *stream)
{
	static const struct resp_names unnamed = { NULL, NULL, NULL };
	const struct resp_client *state = stream_state(stream);
	const struct resp_names *names = state->names == NULL ? &unnamed : state->names;
	char peer[ADDRESS_TEXT_MAX], here[ADDRESS_TEXT_MAX] = "";
	struct sockaddr_storage local;
	socklen_t length = stream_local(stream, &local);
	int64_t now = clock_ms();
	struct client client;

	stream_describe(stream, &client);
	if (length > 0)
		sockaddr_format((const struct sockaddr *)&local, length, here, sizeof(here));
	text_add(text,
	    "id=%" PRIu64 " addr=%s laddr=%s name=%s age=%" PRId64 " idle=%" PRId64
	    " flags=N db=0 sub=0 psub=0 ssub=0 multi=-1 omem=%" PRIu64
	    " user=default redir=-1 resp=%d lib-name=%s lib-ver=%s\n",
	    client.id, peer_format(&client.peer, peer, sizeof(peer)), here,
	    names->name == NULL ? "" : names->name, (now - client.opened) / 1000,
	    (now - client.active) / 1000, client.unsent, state->is_resp3 ? RESP3 : RESP2,
	    names->library == NULL ? "" : names->library,
	    names->version == NULL ? "" : names->version);
}

static enum verdict client_info(struct resp_request *r)
{
	struct text text = { 0 };

	describe_client(&text, r->stream);
	return reply_text(r, &text);
}

/* The clients of this instance that speak RESP, as many as fit. */
static enum verdict client_list(struct resp_request *r)
{
	struct client_iterator iterator;
	struct text text = { 0 };
	struct stream *stream;
	bool all = true;

	if (r->words > 0) {
		struct slice option = resp_next_word(r), type = resp_next_word(r);

		if (!is_word(option, "TYPE") || r->words > 0)
			return reply_syntax(r);
		all = is_word(type, "NORMAL");
	}
	client_iterator_begin(&iterator, r->instance->loop);
	while (all && !text.failed && (stream = client_iterator_next(&iterator)) != NULL)
		if (stream_instance(stream) == r->instance &&
		    stream_handlers(stream) == &kv_resp_handlers)
			describe_client(&text, stream);
	client_iterator_end(&iterator);
	return reply_text(r, &text);
}

static enum verdict client_switch(struct resp_request *r)
{
	struct slice word = resp_next_word(r);

	return is_word(word, "ON") || is_word(word, "OFF") ? reply_ok(r) : reply_syntax(r);
}

static enum verdict client_reply(struct resp_request *r)
{
	struct slice word = resp_next_word(r);

	if (is_word(word, "OFF")) {
		r->client->silent = true;
	} else if (is_word(word, "SKIP")) {
		r->client->skips_next = !r->client->silent;
	} else if (is_word(word, "ON")) {
		r->client->silent = false;
		return reply_ok(r);
	} else {
		return reply_syntax(r);
	}
	return VERDICT_CONTINUE;
}

static enum verdict run_client(struct resp_request *r)
{
	static const struct within rows[] = {
		{ "ID", 0, 0, client_id },
		{ "GETNAME", 0, 0, client_getname },
		{ "SETNAME", 1, 1, client_setname },
		{ "SETINFO", 2, 2, client_setinfo },
		{ "INFO", 0, 0, client_info },
		{ "LIST", 0, 2, client_list },
		{ "NO-EVICT", 1, 1, client_switch },
		{ "NO-TOUCH", 1, 1, client_switch },
		{ "REPLY", 1, 1, client_reply },
		{ 0 },
	};

	return run_within(r, rows);
}

/* --- COMMAND --- */

/* What Redis tells of a command, from its row. */
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

static void write_small(const struct command *command, char name[COMMAND_NAME_MAX + 1])
{
	size_t i;

	for (i = 0; i < command->name_length; i++)
		name[i] = (char)tolower((unsigned char)command->name[i]);
	name[i] = '\0';
}

static void add_info(struct resp_request *r, const struct command *command)
{
	bool writes = command->flags & (COMMAND_WRITES | COMMAND_GROWS);
	bool local = command->flags & COMMAND_LOCAL, grows = command->flags & COMMAND_GROWS;
	struct shape shape = shape_of(command);
	struct replies *replies = r->replies;
	char name[COMMAND_NAME_MAX + 1];

	write_small(command, name);
	resp_array(replies, 10);
	resp_text(replies, name);
	resp_integer(replies, shape.arity);
	resp_set(replies, r->version, 1 + (grows || local));
	resp_status(replies, local ? "loading" : writes ? "write" : "readonly");
	if (grows || local)
		resp_status(replies, local ? "stale" : "denyoom");
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
	char name[COMMAND_NAME_MAX + 1];

	write_small(command, name);
	resp_text(r->replies, name);
	resp_map(r->replies, r->version, 3);
	add_pair(r->replies, "summary", command->help);
	add_pair(r->replies, "since", "1.0.0");
	add_pair(r->replies, "group",
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
	char name[COMMAND_NAME_MAX + 1];

	resp_array(r->replies, count_commands(index));
	for (size_t i = 0; i < COMMAND_SLOTS; i++) {
		if (index->slots[i] == NULL)
			continue;
		write_small(index->slots[i], name);
		resp_text(r->replies, name);
	}
	return VERDICT_CONTINUE;
}

static enum verdict run_command(struct resp_request *r)
{
	static const struct within rows[] = {
		{ "COUNT", 0, 0, command_count },
		{ "INFO", 0, SIZE_MAX, command_info },
		{ "DOCS", 0, SIZE_MAX, command_docs },
		{ "LIST", 0, 0, command_list },
		{ 0 },
	};

	return r->words == 0 ? command_all(r) : run_within(r, rows);
}

/* --- INFO --- */

static unsigned tcp_port(const struct instance *instance)
{
	const struct listener *listener;

	TAILQ_FOREACH (listener, &instance->listeners, entry)
		if (listener->wanted.resp && endpoint_port(listener_endpoint(listener)) != 0)
			return endpoint_port(listener_endpoint(listener));
	return 0;
}

static void info_server(struct resp_request *r, struct text *text)
{
	int64_t up = (clock_ms() - r->kv->started) / 1000;
	struct utsname os;

	uname(&os);
	text_add(text,
	    "# Server\r\nredis_version:" REDIS_VERSION "\r\nserver_name:echod\r\n"
	    "echod_version:" PACKAGE_VERSION "\r\nredis_mode:standalone\r\nos:%s %s %s\r\n"
	    "arch_bits:%zu\r\nprocess_id:%d\r\ntcp_port:%u\r\nuptime_in_seconds:%" PRId64
	    "\r\nuptime_in_days:%" PRId64 "\r\n",
	    os.sysname, os.release, os.machine, 8 * sizeof(void *), (int)getpid(),
	    tcp_port(r->instance), up, up / 86400);
}

static void info_clients(struct resp_request *r, struct text *text)
{
	text_add(text,
	    "# Clients\r\nconnected_clients:%zu\r\nmaxclients:%" PRId64 "\r\nblocked_clients:0\r\n",
	    r->instance->stream_count, r->instance->settings->max_connections);
}

static void add_size(struct text *text, const char *name, uint64_t bytes)
{
	static const char units[] = "BKMGT";
	double size = (double)bytes;
	size_t unit = 0;

	for (; size >= 1024 && units[unit + 1] != '\0'; unit++)
		size /= 1024;
	text_add(text, "%s:%" PRIu64 "\r\n%s_human:%.*f%c\r\n", name, bytes, name,
	    unit == 0 ? 0 : 2, size, units[unit]);
}

static void info_memory(struct resp_request *r, struct text *text)
{
	struct engine_stats stats;

	r->kv->engine->ops->stats(r->kv->engine, &stats);
	text_add(text, "# Memory\r\n");
	add_size(text, "used_memory", stats.table.memory);
	add_size(text, "used_memory_rss", resident_memory());
	add_size(text, "maxmemory", (uint64_t)r->kv->max_memory);
	text_add(text, "maxmemory_policy:noeviction\r\n");
}

static void info_persistence(struct resp_request *r, struct text *text)
{
	struct engine_stats stats;

	r->kv->engine->ops->stats(r->kv->engine, &stats);
	text_add(text,
	    "# Persistence\r\nloading:%d\r\naof_enabled:%d\r\naof_last_write_status:%s\r\n"
	    "rdb_changes_since_last_save:%zu\r\nrdb_bgsave_in_progress:0\r\n"
	    "rdb_last_bgsave_status:ok\r\naof_rewrite_in_progress:0\r\n",
	    r->kv->progress != NULL, stats.durable, stats.read_only ? "err" : "ok",
	    stats.uncommitted);
}

static void info_stats(struct resp_request *r, struct text *text)
{
	const struct counters *c = &r->instance->counters;

	text_add(text,
	    "# Stats\r\ntotal_connections_received:%" PRIu64 "\r\ntotal_commands_processed:%" PRIu64
	    "\r\ntotal_net_input_bytes:%" PRIu64 "\r\ntotal_net_output_bytes:%" PRIu64
	    "\r\nrejected_connections:%" PRIu64 "\r\nevicted_keys:0\r\npubsub_channels:0\r\n",
	    c->accepted, r->kv->requests, c->bytes_in, c->bytes_out, c->closed[CLOSE_LIMIT]);
}

static void info_replication(struct resp_request *r, struct text *text)
{
	(void)r;
	text_add(text, "# Replication\r\nrole:master\r\nconnected_slaves:0\r\n");
}

static void info_cpu(struct resp_request *r, struct text *text)
{
	struct rusage usage;

	(void)r;
	getrusage(RUSAGE_SELF, &usage);
	text_add(text, "# CPU\r\nused_cpu_sys:%ld.%06ld\r\nused_cpu_user:%ld.%06ld\r\n",
	    (long)usage.ru_stime.tv_sec, (long)usage.ru_stime.tv_usec, (long)usage.ru_utime.tv_sec,
	    (long)usage.ru_utime.tv_usec);
}

static void info_cluster(struct resp_request *r, struct text *text)
{
	(void)r;
	text_add(text, "# Cluster\r\ncluster_enabled:0\r\n");
}

static void info_keyspace(struct resp_request *r, struct text *text)
{
	struct engine_stats stats;

	r->kv->engine->ops->stats(r->kv->engine, &stats);
	text_add(text, "# Keyspace\r\n");
	if (stats.table.entries > 0)
		text_add(text, "db0:keys=%zu,expires=%zu,avg_ttl=0\r\n", stats.table.entries,
		    stats.table.expiring);
}

static const struct section {
	const char *name;
	void (*add)(struct resp_request *request, struct text *text);
} sections[] = {
	{ "server", info_server },
	{ "clients", info_clients },
	{ "memory", info_memory },
	{ "persistence", info_persistence },
	{ "stats", info_stats },
	{ "replication", info_replication },
	{ "cpu", info_cpu },
	{ "cluster", info_cluster },
	{ "keyspace", info_keyspace },
};
#define SECTIONS (sizeof(sections) / sizeof(sections[0]))

static enum verdict run_info(struct resp_request *r)
{
	unsigned wanted = r->words == 0 ? ~0u : 0;
	struct text text = { 0 };

	while (r->words > 0) {
		struct slice name = resp_next_word(r);

		if (is_word(name, "all") || is_word(name, "everything") || is_word(name, "default"))
			wanted = ~0u;
		for (size_t i = 0; i < SECTIONS; i++)
			if (is_word(name, sections[i].name))
				wanted |= 1u << i;
	}
	for (size_t i = 0; i < SECTIONS; i++) {
		if (!(wanted & 1u << i))
			continue;
		if (text.length > 0)
			text_add(&text, "\r\n");
		sections[i].add(r, &text);
	}
	return reply_text(r, &text);
}

/* --- CONFIG --- */

static enum verdict config_get(struct resp_request *r)
{
	char maxmemory[24], maxclients[24], max_bulk[24], timeout[24];
	struct engine_stats stats;
	const char *const pairs[][2] = {
		{ "appendonly", "no" },
		{ "databases", "1" },
		{ "maxclients", maxclients },
		{ "maxmemory", maxmemory },
		{ "maxmemory-policy", "noeviction" },
		{ "proto-max-bulk-len", max_bulk },
		{ "save", "" },
		{ "timeout", timeout },
	};
	enum { PAIRS = sizeof(pairs) / sizeof(pairs[0]) };
	bool wanted[PAIRS] = { false };
	size_t count = 0, work = 0;

	r->kv->engine->ops->stats(r->kv->engine, &stats);
	snprintf(maxmemory, sizeof(maxmemory), "%" PRId64, r->kv->max_memory);
	snprintf(
	    maxclients, sizeof(maxclients), "%" PRId64, r->instance->settings->max_connections);
	snprintf(max_bulk, sizeof(max_bulk), "%zu", r->kv->limits.max_value);
	snprintf(timeout, sizeof(timeout), "%" PRId64, r->instance->settings->idle_timeout / 1000);
	while (r->words > 0) {
		struct slice pattern = resp_next_word(r);

		for (size_t i = 0; i < PAIRS && pattern.length <= PATTERN_MAX; i++)
			wanted[i] |= glob_match(
			    pattern, (struct slice){ pairs[i][0], strlen(pairs[i][0]) }, &work);
	}
	for (size_t i = 0; i < PAIRS; i++)
		count += wanted[i];
	resp_map(r->replies, r->version, count);
	for (size_t i = 0; i < PAIRS; i++)
		if (wanted[i])
			add_pair(
			    r->replies, pairs[i][0], i == 0 && stats.durable ? "yes" : pairs[i][1]);
	return VERDICT_CONTINUE;
}

static enum verdict run_config(struct resp_request *r)
{
	static const struct within rows[] = {
		{ "GET", 1, SIZE_MAX, config_get },
		{ "RESETSTAT", 0, 0, reply_ok },
		{ 0 },
	};

	return run_within(r, rows);
}

/* --- what there is none of --- */

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
	return reply_error(r, "ERR This instance has cluster support disabled");
}

static enum verdict run_module(struct resp_request *r)
{
	static const struct within rows[] = { { "LIST", 0, 0, reply_empty }, { 0 } };

	return run_within(r, rows);
}

static enum verdict run_latency(struct resp_request *r)
{
	static const struct within rows[] = {
		{ "LATEST", 0, 0, reply_empty },
		{ "HISTORY", 1, 1, reply_empty },
		{ "RESET", 0, SIZE_MAX, reply_zero },
		{ 0 },
	};

	return run_within(r, rows);
}

static enum verdict run_slowlog(struct resp_request *r)
{
	static const struct within rows[] = {
		{ "GET", 0, 1, reply_empty },
		{ "LEN", 0, 0, reply_zero },
		{ "RESET", 0, 0, reply_ok },
		{ 0 },
	};

	return run_within(r, rows);
}

static enum verdict acl_whoami(struct resp_request *r)
{
	resp_text(r->replies, "default");
	return VERDICT_CONTINUE;
}

static enum verdict run_acl(struct resp_request *r)
{
	static const struct within rows[] = { { "WHOAMI", 0, 0, acl_whoami }, { 0 } };

	return run_within(r, rows);
}

/* There are no replicas to wait for. */
static enum verdict run_wait(struct resp_request *r)
{
	int64_t replicas, ms;

	if (command_number(resp_next_word(r), &replicas) != KV_OK)
		return reply_not_a_number(r);
	if (command_number(resp_next_word(r), &ms) != KV_OK)
		return reply_error(r, "ERR timeout is not an integer or out of range");
	return ms < 0 ? reply_error(r, "ERR timeout is negative") : reply_zero(r);
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

/* When the store was started: what it had then is on the disk. */
static enum verdict run_lastsave(struct resp_request *r)
{
	resp_integer(r->replies, clock_seconds() - (clock_ms() - r->kv->started) / 1000);
	return VERDICT_CONTINUE;
}

/* --- the rows --- */

/* clang-format off */
#define WORD(name) { ARG_BYTES, 0, (name), 0 }
#define OPTIONAL(name) { ARG_BYTES, ARG_OPTIONAL, (name), 0 }
#define OPTIONS(usage) { ARG_OPTIONS, ARG_OPTIONAL | ARG_MANY, (usage), 0 }
#define WITHIN WORD("subcommand"), OPTIONS("[argument...]")
#define ROW(name_, run_, help_, ...)                                                         \
	{ { .name = (name_), .name_length = sizeof(name_) - 1, .args = { __VA_ARGS__ },      \
	    .flags = COMMAND_LOCAL, .help = (help_) }, (run_) }
/* clang-format on */

static const struct resp_command resp_commands[] = {
	ROW("PING", run_ping, "Replies PONG, or the message.", OPTIONAL("message")),
	ROW("HELLO", run_hello, "Changes the version of the protocol; about the server.",
	    OPTIONS("[2 | 3 [AUTH user password] [SETNAME name]]")),
	ROW("AUTH", run_auth, "Checks a password.", WORD("user"), OPTIONS("[password]")),
	ROW("SELECT", run_select, "Selects the database; there is only 0.", WORD("index")),
	ROW("CLIENT", run_client, "About this connection, and the others.", WITHIN),
	ROW("QUIT", run_quit, "Closes the connection.", OPTIONS("[anything]")),
	ROW("RESET", run_reset, "Makes the connection as new.", { ARG_END, 0, NULL, 0 }),
	ROW("COMMAND", run_command, "About the commands.", OPTIONS("[COUNT | INFO | DOCS | LIST]")),
	ROW("INFO", run_info, "About the server.", OPTIONS("[section...]")),
	ROW("CONFIG", run_config, "About the configuration.", WITHIN),
	ROW("TIME", run_time, "The time in seconds, and microseconds.", { ARG_END, 0, NULL, 0 }),
	ROW("LASTSAVE", run_lastsave, "When the store was started.", { ARG_END, 0, NULL, 0 }),
	ROW("WAIT", run_wait, "Replies 0: there are no replicas.", WORD("replicas"), WORD("ms")),
	ROW("CLUSTER", run_cluster, "There is no cluster.", WITHIN),
	ROW("READONLY", run_cluster, "There is no cluster.", { ARG_END, 0, NULL, 0 }),
	ROW("READWRITE", run_cluster, "There is no cluster.", { ARG_END, 0, NULL, 0 }),
	ROW("ASKING", run_cluster, "There is no cluster.", { ARG_END, 0, NULL, 0 }),
	ROW("MODULE", run_module, "There are no modules.", WITHIN),
	ROW("ACL", run_acl, "The user.", WITHIN),
	ROW("LATENCY", run_latency, "There are no events.", WITHIN),
	ROW("SLOWLOG", run_slowlog, "There are no entries.", WITHIN),
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
