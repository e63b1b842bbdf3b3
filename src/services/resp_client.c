/* The commands of RESP about the connection: those that client libraries send first, and CLIENT. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "kv/command.h"
#include "kv/verb.h"
#include "net/client.h"
#include "net/endpoint.h"
#include "net/instance.h"
#include "net/replies.h"
#include "net/stream.h"
#include "services/kv.h"
#include "services/kv_resp.h"
#include "services/resp_pubsub.h"
#include "services/resp_request.h"
#include "services/resp_transaction.h"
#include "services/resp_words.h"

#define IDS_MAX 100         /* of CLIENT LIST ID: each is looked for among all clients */
#define NAME_MAX_LENGTH 256 /* bytes of what CLIENT SETNAME and SETINFO set */

/* --- the connection --- */

enum verdict resp_run_ping(struct resp_request *r)
{
	if (r->version == RESP2 && resp_is_subscribed(r->client)) {
		resp_array(r->replies, 2);
		resp_text(r->replies, "pong");
		resp_bulk(r->replies, resp_next_word(r));
	} else if (r->words == 0)
		resp_status(r->replies, "PONG");
	else
		resp_bulk(r->replies, resp_next_word(r));
	return VERDICT_CONTINUE;
}

enum verdict resp_run_quit(struct resp_request *r)
{
	resp_status(r->replies, "OK");
	resp_pubsub_unsubscribe(r->kv, r->client);
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

#define WRONG_PASSWORD "WRONGPASS invalid username-password pair or user is disabled."
#define BAD_NAME "ERR Client names cannot contain spaces, newlines or special characters."

enum verdict resp_run_reset(struct resp_request *r)
{
	struct resp_client *client = r->client;
	/* It is heard after CLIENT REPLY OFF, not after SKIP. */
	struct replies *replies = client->silent ? client->replies : r->replies;

	resp_names_free(client->names);
	client->names = NULL;
	resp_transaction_free(r->kv, client);
	resp_pubsub_unsubscribe(r->kv, client);
	client->is_resp3 = client->silent = client->skips_next = false;
	kv_login_open(r->stream, &client->shared.login);
	resp_status(replies, "RESET");
	return VERDICT_CONTINUE;
}

enum verdict resp_run_select(struct resp_request *r)
{
	int64_t number;

	if (command_number(resp_next_word(r), &number) != KV_OK)
		return resp_fail_number(r);
	return number == 0 ? resp_ok(r) : resp_fail(r, "ERR DB index is out of range");
}

/*
 * Logs in, or adds the error. *is_in: whether that has worked. Without users it replies as a Redis without passwords.
 */
static enum verdict log_in(
    struct resp_request *r, struct slice name, struct slice secret, bool *is_in)
{
	const struct user *before;
	enum login_result result;

	*is_in = false;
	if (r->kv->users != NULL && r->client->executes) /* which cannot wait for it */
		return resp_fail(r, "ERR a login inside MULTI is not possible");
	before = r->client->shared.login.user;
	result = kv_login_try(r->stream, &r->client->shared.login, name, secret);
	switch (result) {
	case LOGIN_OK:
		*is_in = true;
		/* Another user may not be allowed what this one has subscribed to. */
		if (before != r->client->shared.login.user)
			resp_pubsub_unsubscribe(r->kv, r->client);
		return VERDICT_CONTINUE;
	case LOGIN_WAITS:
		return VERDICT_WAIT;
	case LOGIN_WRONG:
	case LOGIN_WRONG_LAST:
		resp_error(r->replies, WRONG_PASSWORD);
		return result == LOGIN_WRONG ? VERDICT_CONTINUE : VERDICT_AUTH;
	case LOGIN_BUSY:
		return resp_fail(r, "ERR too many logins, try again later");
	case LOGIN_NO_USERS:
		*is_in = verb_is_word(name, "default");
		return *is_in ? VERDICT_CONTINUE : resp_fail(r, WRONG_PASSWORD);
	case LOGIN_NO_MEMORY:
		break;
	}
	return VERDICT_ABORT;
}

enum verdict resp_run_auth(struct resp_request *r)
{
	struct slice name = { "default", 7 }, secret;
	bool is_in, is_named = r->words == 2;
	enum verdict verdict;

	if (r->words > 2)
		return resp_fail_syntax(r);
	if (is_named)
		name = resp_next_word(r);
	secret = resp_next_word(r);
	verdict = log_in(r, name, secret, &is_in);
	if (is_in && !is_named && r->kv->users == NULL)
		return resp_fail(r,
		    "ERR AUTH <password> called without any password configured for the default "
		    "user. Are you sure your configuration is correct?");
	return is_in ? resp_ok(r) : verdict;
}

static void reply_hello(struct resp_request *r)
{
	struct replies *replies = r->replies;
	int version = r->client->is_resp3 ? RESP3 : RESP2;
	struct client client;

	stream_describe(r->stream, &client);
	resp_map(replies, version, 7);
	resp_pair(replies, "server", "redis");
	resp_pair(replies, "version", REDIS_VERSION);
	resp_text(replies, "proto");
	resp_integer(replies, version);
	resp_text(replies, "id");
	resp_integer(replies, (int64_t)client.id);
	resp_pair(replies, "mode", "standalone");
	resp_pair(replies, "role", "master");
	resp_text(replies, "modules");
	resp_array(replies, 0);
}

enum verdict resp_run_hello(struct resp_request *r)
{
	struct slice name = { "", 0 }, user = { "", 0 }, secret = { "", 0 };
	bool named = false, logs_in = false, is_in, is_resp3 = r->client->is_resp3;
	enum verdict verdict;
	int64_t version;

	if (r->words > 0) {
		if (command_number(resp_next_word(r), &version) != KV_OK)
			return resp_fail(
			    r, "ERR Protocol version is not an integer or out of range");
		if (version != RESP2 && version != RESP3)
			return resp_fail(r, "NOPROTO unsupported protocol version");
		is_resp3 = version == RESP3;
	}
	while (r->words > 0) {
		struct slice option = resp_next_word(r);

		if (verb_is_word(option, "AUTH") && r->words >= 2) {
			user = resp_next_word(r);
			secret = resp_next_word(r);
			logs_in = true;
		} else if (verb_is_word(option, "SETNAME") && r->words >= 1) {
			name = resp_next_word(r);
			named = true;
			if (!is_name(name))
				return resp_fail(r, BAD_NAME);
		} else {
			resp_errorf(r->replies, "ERR Syntax error in HELLO option '%.*s'",
			    resp_shown(option), option.bytes);
			return VERDICT_CONTINUE;
		}
	}
	if (logs_in) {
		verdict = log_in(r, user, secret, &is_in);
		if (!is_in)
			return verdict;
	}
	if (named && !set_name(r->client, offsetof(struct resp_names, name), name))
		return resp_fail(r, "ERR out of memory");
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
		return resp_fail(r, BAD_NAME);
	if (!set_name(r->client, offsetof(struct resp_names, name), name))
		return resp_fail(r, "ERR out of memory");
	return resp_ok(r);
}

static enum verdict client_setinfo(struct resp_request *r)
{
	struct slice what = resp_next_word(r), value = resp_next_word(r);
	bool library = verb_is_word(what, "LIB-NAME");

	if (!library && !verb_is_word(what, "LIB-VER")) {
		resp_errorf(
		    r->replies, "ERR Unrecognized option '%.*s'", resp_shown(what), what.bytes);
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
		return resp_fail(r, "ERR out of memory");
	return resp_ok(r);
}

static void format_local(const struct stream *stream, char text[ADDRESS_TEXT_MAX])
{
	struct sockaddr_storage local;
	socklen_t length = stream_local(stream, &local);

	*text = '\0';
	if (length > 0)
		sockaddr_format((const struct sockaddr *)&local, length, text, ADDRESS_TEXT_MAX);
}

static void write_last_command(const struct resp_client *client, char name[RESP_NAME_MAX])
{
	bool is_within = client->within != NULL && client->command->flags & COMMAND_PARENT;
	const char *within = is_within ? client->within->name : "";

	if (client->command == NULL)
		snprintf(name, RESP_NAME_MAX, "NULL");
	else
		resp_write_name(client->command, (struct slice){ within, strlen(within) }, name);
}

/* The fields of Redis, in its order; those of memory that echod does not have are 0. */
static void describe_client(struct text *text, struct stream *stream)
{
	static const struct resp_names unnamed = { NULL, NULL, NULL };
	const struct resp_client *state = stream_state(stream);
	const struct resp_names *names = state->names == NULL ? &unnamed : state->names;
	struct pubsub_counts counts = resp_client_counts(state);
	char peer[ADDRESS_TEXT_MAX], here[ADDRESS_TEXT_MAX], command[RESP_NAME_MAX];
	size_t queued_bytes;
	int64_t queued = resp_transaction_queued(state, &queued_bytes), now = clock_ms();
	struct client client;

	stream_describe(stream, &client);
	format_local(stream, here);
	write_last_command(state, command);
	text_add(text,
	    "id=%" PRIu64 " addr=%s laddr=%s fd=%d name=%s age=%" PRId64 " idle=%" PRId64
	    " flags=%c db=0 sub=%zu psub=%zu ssub=0 multi=%" PRId64 " qbuf=%" PRIu64
	    " qbuf-free=0 argv-mem=0 multi-mem=%zu rbs=0 rbp=0 obl=0 oll=0 omem=%" PRIu64
	    " tot-mem=%" PRIu64 " events=%s cmd=%s user=%s redir=-1 resp=%d lib-name=%s"
	    " lib-ver=%s\n",
	    client.id, peer_format(&client.peer, peer, sizeof(peer)), here, client.fd,
	    names->name == NULL ? "" : names->name, (now - client.opened) / 1000,
	    (now - client.active) / 1000,
	    resp_is_subscribed(state) ? 'P'
	    : queued >= 0             ? 'x'
				      : 'N',
	    counts.channels, counts.patterns, queued, client.unread, queued_bytes, client.unsent,
	    client.unread + client.unsent + queued_bytes, client.unsent > 0 ? "rw" : "r", command,
	    kv_login_name(stream_instance(stream)->state, &state->shared.login),
	    state->is_resp3 ? RESP3 : RESP2, names->library == NULL ? "" : names->library,
	    names->version == NULL ? "" : names->version);
}

static enum verdict client_info(struct resp_request *r)
{
	struct text text = { 0 };

	describe_client(&text, r->stream);
	return text_reply(r, &text);
}

/* The clients of this instance that speak RESP. */
static bool is_listed(const struct resp_request *r, const struct stream *stream)
{
	return stream_instance(stream) == r->instance &&
	       stream_handlers(stream) == &kv_resp_handlers;
}

/* A type of clients that Redis has; here a client is normal, or it has subscribed. */
static bool is_type(struct slice name)
{
	static const char *const types[] = { "NORMAL", "MASTER", "REPLICA", "SLAVE", "PUBSUB" };

	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (verb_is_word(name, types[i]))
			return true;
	return false;
}

/* A type or user that is wanted: true if it is known, or false with the error. */
static bool check_known(struct resp_request *r, bool is_known, const char *error, struct slice name)
{
	if (!is_known)
		resp_errorf(r->replies, "%s '%.*s'", error, resp_shown(name), name.bytes);
	return is_known;
}

/* Those of the ids that are here, each as often as it is named. */
static enum verdict list_ids(struct resp_request *r)
{
	struct text text = { 0 };

	while (r->words > 0) {
		struct stream *stream;
		int64_t id;

		if (command_number(resp_next_word(r), &id) != KV_OK) {
			free(text.bytes);
			return resp_fail(r, "ERR Invalid client ID");
		}
		stream = stream_find(r->instance->loop, (uint64_t)id);
		if (stream != NULL && is_listed(r, stream) && !text.failed)
			describe_client(&text, stream);
	}
	return text_reply(r, &text);
}

/* As many as fit. */
static enum verdict client_list(struct resp_request *r)
{
	struct client_iterator iterator;
	struct text text = { 0 };
	struct stream *stream;
	bool normal = true, subscribed = true;

	if (!resp_may_administer(r))
		return resp_fail_right(r);
	if (r->words > 0) {
		struct slice option = resp_next_word(r), type;

		if (verb_is_word(option, "ID") && r->words > 0)
			return r->words <= IDS_MAX ? list_ids(r)
						   : resp_fail(r, "ERR too many client IDs");
		if (!verb_is_word(option, "TYPE") || r->words != 1)
			return resp_fail_syntax(r);
		type = resp_next_word(r);
		if (!check_known(r, is_type(type), "ERR Unknown client type", type))
			return VERDICT_CONTINUE;
		normal = verb_is_word(type, "NORMAL");
		subscribed = verb_is_word(type, "PUBSUB");
	}
	client_iterator_begin(&iterator, r->instance->loop);
	while (!text.failed && (stream = client_iterator_next(&iterator)) != NULL)
		if (is_listed(r, stream) &&
		    (resp_is_subscribed(stream_state(stream)) ? subscribed : normal))
			describe_client(&text, stream);
	client_iterator_end(&iterator);
	return text_reply(r, &text);
}

/* Which clients CLIENT KILL ends; zeroed = all. */
struct victims {
	int64_t id; /* 0 = any */
	struct slice peer, here, user;
	bool by_peer, by_here, by_user, no_normal, no_subscribed, skips_me;
};

/* Reads an option and its value. true, or false with the error. */
static bool read_victims(struct resp_request *r, struct victims *victims)
{
	struct slice option = resp_next_word(r), value;
	bool has_value = r->words > 0;

	value = resp_next_word(r);
	if (has_value && verb_is_word(option, "ID")) {
		if (command_number(value, &victims->id) == KV_OK && victims->id > 0)
			return true;
		resp_fail(r, "ERR client-id should be greater than 0");
		return false;
	}
	if (has_value && verb_is_word(option, "ADDR")) {
		victims->by_peer = true;
		victims->peer = value;
	} else if (has_value && verb_is_word(option, "LADDR")) {
		victims->by_here = true;
		victims->here = value;
	} else if (has_value && verb_is_word(option, "TYPE")) {
		victims->no_normal |= !verb_is_word(value, "NORMAL");
		victims->no_subscribed |= !verb_is_word(value, "PUBSUB");
		return check_known(r, is_type(value), "ERR Unknown client type", value);
	} else if (has_value && verb_is_word(option, "USER")) {
		victims->by_user = true;
		victims->user = value;
		return check_known(r,
		    r->kv->users != NULL ? users_find(r->kv->users, value) != NULL
					 : slice_is_equal(value, (struct slice){ "default", 7 }),
		    "ERR No such user", value);
	} else if (verb_is_word(option, "SKIPME") &&
		   (verb_is_word(value, "YES") || verb_is_word(value, "NO"))) {
		victims->skips_me = verb_is_word(value, "YES");
	} else {
		resp_fail_syntax(r);
		return false;
	}
	return true;
}

static bool is_victim(const struct victims *victims, struct stream *stream)
{
	const struct resp_client *state = stream_state(stream);
	const char *user = kv_login_name(stream_instance(stream)->state, &state->shared.login);
	bool is_subscribed = resp_is_subscribed(state);
	char peer[ADDRESS_TEXT_MAX], here[ADDRESS_TEXT_MAX];
	struct client client;

	stream_describe(stream, &client);
	peer_format(&client.peer, peer, sizeof(peer));
	format_local(stream, here);
	return !(is_subscribed ? victims->no_subscribed : victims->no_normal) &&
	       (!victims->by_user ||
		   slice_is_equal(victims->user, (struct slice){ user, strlen(user) })) &&
	       (victims->id == 0 || (uint64_t)victims->id == client.id) &&
	       (!victims->by_peer ||
		   slice_is_equal(victims->peer, (struct slice){ peer, strlen(peer) })) &&
	       (!victims->by_here ||
		   slice_is_equal(victims->here, (struct slice){ here, strlen(here) }));
}

/* Ends those clients; how many. This one gets its reply first. */
static int64_t kill_victims(struct resp_request *r, const struct victims *victims)
{
	struct client_iterator iterator;
	struct stream *stream;
	int64_t killed = 0;

	client_iterator_begin(&iterator, r->instance->loop);
	while ((stream = client_iterator_next(&iterator)) != NULL) {
		bool is_me = stream == r->stream;

		if (!is_listed(r, stream) || !is_victim(victims, stream) ||
		    (is_me && victims->skips_me))
			continue;
		killed++;
		if (is_me)
			r->client->leaves = true;
		else
			stream_kill(stream);
	}
	client_iterator_end(&iterator);
	return killed;
}

static enum verdict client_kill(struct resp_request *r)
{
	struct victims victims = { .by_peer = r->words == 1, .skips_me = r->words > 1 };

	if (!resp_may_administer(r))
		return resp_fail_right(r);
	if (r->words == 1) {
		victims.peer = resp_next_word(r);
		return kill_victims(r, &victims) > 0 ? resp_ok(r)
						     : resp_fail(r, "ERR No such client");
	}
	while (r->words > 0)
		if (!read_victims(r, &victims))
			return VERDICT_CONTINUE;
	resp_integer(r->replies, kill_victims(r, &victims));
	return VERDICT_CONTINUE;
}

static enum verdict client_switch(struct resp_request *r)
{
	struct slice word = resp_next_word(r);

	return verb_is_word(word, "ON") || verb_is_word(word, "OFF") ? resp_ok(r)
								     : resp_fail_syntax(r);
}

static enum verdict client_reply(struct resp_request *r)
{
	struct slice word = resp_next_word(r);

	if (verb_is_word(word, "OFF")) {
		r->client->silent = true;
	} else if (verb_is_word(word, "SKIP")) {
		r->client->skips_next = !r->client->silent;
	} else if (verb_is_word(word, "ON")) {
		resp_status(r->client->is_dropped ? r->client->replies : r->replies, "OK");
		r->client->silent = false;
	} else {
		return resp_fail_syntax(r);
	}
	return VERDICT_CONTINUE;
}

const struct resp_within resp_client_rows[] = {
	{ { "ID", "", "The number of this connection." }, 0, 0, client_id },
	{ { "GETNAME", "", "Its name." }, 0, 0, client_getname },
	{ { "SETNAME", "name", "Names it." }, 1, 1, client_setname },
	{ { "SETINFO", "LIB-NAME name | LIB-VER version", "Sets what its library is." }, 2, 2,
	    client_setinfo },
	{ { "INFO", "", "About this connection." }, 0, 0, client_info },
	{ { "LIST", "[TYPE type | ID id...]", "About the connections of clients of Redis." }, 0,
	    SIZE_MAX, client_list },
	{ { "KILL", "address | option value...",
	      "Ends connections. Options are ID, TYPE, ADDR, LADDR, USER, SKIPME." },
	    1, SIZE_MAX, client_kill },
	{ { "NO-EVICT", "ON | OFF", "No effect." }, 1, 1, client_switch },
	{ { "NO-TOUCH", "ON | OFF", "No effect." }, 1, 1, client_switch },
	{ { "REPLY", "ON | OFF | SKIP",
	      "Whether requests get replies; SKIP: all but the next one." },
	    1, 1, client_reply },
	{ { 0 }, 0, 0, NULL },
};
