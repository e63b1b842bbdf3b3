/* EVAL, EVALSHA and SCRIPT: each script is a command that has no name, see kv/script.h. */
#include "services/resp_scripts.h"

#include <string.h>

#include "kv/command.h"
#include "kv/script.h"
#include "kv/verb.h"
#include "net/replies.h"
#include "services/kv.h"
#include "services/resp_request.h"
#include "services/resp_words.h"

static const char unknown[] =
    "ERR echod runs no Lua but knows the scripts of some client libraries, and this is none of "
    "them; see \"Known scripts\" in echod.conf(5)";
static const char not_loaded[] = "NOSCRIPT No matching script. Please use EVAL.";

/* --- the loaded ones --- */

static const struct script *find_loaded(const struct resp_scripts *scripts, const char *digest)
{
	for (size_t i = 0; i < scripts->count; i++)
		if (strcmp(scripts->loaded[i].digest, digest) == 0)
			return scripts->loaded[i].script;
	return NULL;
}

static void load(struct resp_scripts *scripts, const struct script *script, const char *digest)
{
	struct loaded_script *place = &scripts->loaded[scripts->next];

	if (find_loaded(scripts, digest) != NULL)
		return;
	place->script = script;
	strcpy(place->digest, digest);
	scripts->next = (scripts->next + 1) % SCRIPTS_LOADED;
	if (scripts->count < SCRIPTS_LOADED)
		scripts->count++;
}

void resp_scripts_begin(struct resp_scripts *scripts)
{
	for (const struct script *script = known_scripts; script->folded != NULL; script++)
		if (script->exact != NULL)
			load(scripts, script, script->exact);
}

/* By its text; NULL = it is not known. */
static const struct script *load_text(
    struct resp_scripts *scripts, struct slice text, char digest[SHA1_DIGEST_STRING_LENGTH])
{
	const struct script *script = script_find(text, digest);

	if (script != NULL)
		load(scripts, script, digest);
	return script;
}

/* By its digest, in any case. */
static const struct script *find_digest(const struct resp_scripts *scripts, struct slice word)
{
	char digest[SHA1_DIGEST_STRING_LENGTH];

	if (word.length != SHA1_DIGEST_STRING_LENGTH - 1)
		return NULL;
	for (size_t i = 0; i < word.length; i++) {
		char c = word.bytes[i];

		digest[i] = (char)(c >= 'A' && c <= 'Z' ? c | 0x20 : c);
	}
	digest[word.length] = '\0';
	return find_loaded(scripts, digest);
}

/* --- EVAL --- */

static void refuse(const struct call *eval, struct call *call, const char *text)
{
	call->command = eval->command;
	call->status = KV_INVALID;
	call->args[0] = (struct slice){ text, strlen(text) };
	call->arg_count = 1;
}

/* Fills in the call of a script whose keys, and the arguments behind them, are eval->more. */
static void make_call(const struct kv *kv, const struct call *eval, size_t keys,
    const struct script_verb *verb, struct call *call)
{
	const struct slice *args = eval->more + (verb->args_in_keys ? 1 : keys);
	const struct slice *end = eval->more + (verb->args_in_keys ? keys : eval->more_count);
	size_t key_count = verb->all_keys ? keys : 1;

	if (keys == 0 || args > end || (size_t)(end - args) < verb->args) {
		refuse(eval, call, "ERR too few keys or arguments for this script");
		return;
	}
	*call = (struct call){ .command = &verb->command,
		.key = { eval->more[0].bytes, eval->more[0].length, 0 },
		.arg_count = verb->args,
		.more = eval->more + 1,
		.more_count = key_count - 1 };
	for (size_t i = 0; i < key_count; i++)
		if (eval->more[i].length > kv->limits.max_key)
			call->status = KV_KEY_TOO_LONG;
	for (size_t i = 0; i < verb->args; i++) {
		call->args[i] = args[i];
		if (args[i].length > kv->limits.max_value)
			call->status = KV_VALUE_TOO_LONG;
	}
}

void resp_scripts_call(struct kv *kv, const struct call *eval, struct call *call)
{
	bool by_digest = strncmp(eval->command->name, "EVALSHA", 7) == 0;
	struct slice word = eval->args[0];
	char digest[SHA1_DIGEST_STRING_LENGTH];
	const struct script *script;
	int64_t keys;

	if (by_digest && word.length != SHA1_DIGEST_STRING_LENGTH - 1) {
		refuse(eval, call, not_loaded);
	} else if (command_number(eval->args[1], &keys) != KV_OK) {
		refuse(eval, call, "ERR value is not an integer or out of range");
	} else if (keys > (int64_t)eval->more_count) {
		refuse(eval, call, "ERR Number of keys can't be greater than number of args");
	} else if (keys < 0) {
		refuse(eval, call, "ERR Number of keys can't be negative");
	} else {
		script = by_digest ? find_digest(&kv->scripts, word)
				   : load_text(&kv->scripts, word, digest);
		if (script == NULL)
			refuse(eval, call, by_digest ? not_loaded : unknown);
		else if (!(eval->command->flags & COMMAND_WRITES) &&
			 script->verb->command.flags & (COMMAND_GROWS | COMMAND_WRITES))
			refuse(eval, call,
			    "ERR Write commands are not allowed from read-only scripts.");
		else
			make_call(kv, eval, (size_t)keys, script->verb, call);
	}
}

/* --- SCRIPT --- */

static enum verdict script_load(struct resp_request *r)
{
	char digest[SHA1_DIGEST_STRING_LENGTH];

	if (load_text(&r->kv->scripts, resp_next_word(r), digest) == NULL)
		return resp_fail(r, unknown);
	resp_bulk(r->replies, (struct slice){ digest, strlen(digest) });
	return VERDICT_CONTINUE;
}

static enum verdict script_exists(struct resp_request *r)
{
	resp_array(r->replies, r->words);
	while (r->words > 0)
		resp_integer(r->replies, find_digest(&r->kv->scripts, resp_next_word(r)) != NULL);
	return VERDICT_CONTINUE;
}

static enum verdict script_flush(struct resp_request *r)
{
	if (!resp_may_administer(r))
		return resp_fail_right(r);
	if (r->words > 0) {
		struct slice mode = resp_next_word(r);

		if (!verb_is_word(mode, "SYNC") && !verb_is_word(mode, "ASYNC"))
			return resp_fail(r, "ERR SCRIPT FLUSH only support SYNC|ASYNC option");
	}
	r->kv->scripts.count = r->kv->scripts.next = 0;
	return resp_ok(r);
}

static enum verdict script_kill(struct resp_request *r)
{
	return resp_fail(r, "NOTBUSY No scripts in execution right now.");
}

const struct resp_within resp_script_rows[] = {
	{ { "LOAD", "script", "Loads a known script; the SHA-1 of its text." }, 1, 1, script_load },
	{ { "EXISTS", "sha1...", "Which of the scripts are loaded." }, 1, SIZE_MAX, script_exists },
	{ { "FLUSH", "[ASYNC | SYNC]", "Forgets the loaded scripts." }, 0, 1, script_flush },
	{ { "KILL", "", "An error: no script runs." }, 0, 0, script_kill },
	{ { 0 }, 0, 0, NULL },
};
