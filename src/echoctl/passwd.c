/* echoctl passwd and token: the users file of a kv service gets the hash of a password, or the digest of a token. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "core/error.h"
#include "core/log_escape.h"
#include "core/secret.h"
#include "echoctl/echoctl.h"
#include "echoctl/json_output.h"
#include "echoctl/password.h"
#include "echoctl/users_file.h"

#define RELOAD "put it in force with: echoctl reload"

/* "sha256:", the digits, NUL */
#define TOKEN_HASH_MAX (7 + 2 * SECRET_DIGEST + 1)

static bool refuse(const char *what, const char *expected, const char *got)
{
	char shown[256];

	complain("%s: expected %s, got \"%s\"", what, expected,
	    log_escape(shown, sizeof(shown), got, strlen(got)));
	return false;
}

/* Reads FILE NAME [RIGHTS [PATTERNS]], but for the file. Whether they are right. */
static bool parse_arguments(struct users_change *change, int count, char **arguments)
{
	*change = (struct users_change){
		.name = arguments[1],
		.rights = count > 2 ? arguments[2] : NULL,
		.patterns = count > 3 ? arguments[3] : NULL,
	};
	if (!users_file_is_name(change->name))
		return refuse("NAME",
		    "1 to 64 letters, digits and characters of \".\", \"_\", \"-\" and \"@\"",
		    change->name);
	if (change->rights != NULL && !users_file_are_rights(change->rights))
		return refuse("RIGHTS",
		    "one or more of the letters r (reads), w (writes) and a (administers)",
		    change->rights);
	if (change->patterns != NULL && !users_file_are_patterns(change->patterns))
		return refuse("PATTERNS",
		    "patterns of keys of 1 to 512 bytes with commas between, or *",
		    change->patterns);
	return true;
}

/* Nobody can log in before the daemon can read the file. */
static void report_creation(const struct users_change *change, const char *path)
{
	if (change->created)
		complain(
		    "created %s; the user of echod must be able to read it, for example after: chgrp "
		    "echod %s",
		    path, path);
}

/* What was done, to be followed by the name of the file. */
static void describe(const struct users_change *change, const char *what, char *text, size_t size)
{
	const char *rights = change->rights == NULL ? USERS_DEFAULT_RIGHTS : change->rights;
	const char *patterns = change->patterns == NULL ? USERS_DEFAULT_PATTERNS : change->patterns;

	if (change->added)
		snprintf(
		    text, size, "added %s (rights %s, keys %s) to", change->name, rights, patterns);
	else if (change->patterns != NULL)
		snprintf(text, size, "changed %s (rights %s, keys %s) and the %s in", change->name,
		    rights, patterns, what);
	else if (change->rights != NULL)
		snprintf(
		    text, size, "changed %s (rights %s) and the %s in", change->name, rights, what);
	else
		snprintf(text, size, "changed the %s of %s in", what, change->name);
}

/* --- passwd --- */

static int hash_new_password(const char *user, char hash[SECRET_HASH_MAX])
{
	struct password password;
	struct error error;
	int result = password_ask(user, &password);

	if (result == 0) {
		result = secret_hash_new(password.text, hash, &error);
		if (result == -1)
			complain("%s", error.text);
	}
	password_wipe(&password);
	return result;
}

int passwd_command(const struct options *options, int count, char **arguments)
{
	const char *path = arguments[0];
	char hash[SECRET_HASH_MAX], text[1024];
	struct users_change change;

	if (!parse_arguments(&change, count, arguments))
		return STATUS_USAGE;
	change.hash = hash;
	if (users_file_check(path, change.name) == -1 ||
	    hash_new_password(change.name, hash) == -1 || users_file_change(path, &change) == -1)
		return STATUS_NO;
	if (options->json)
		return json_print(json_pack("{s:s, s:s, s:b}", "file", path, "name", change.name,
			   "added", change.added)) == 0
			   ? STATUS_OK
			   : STATUS_NO;
	describe(&change, "password", text, sizeof(text));
	printf("%s %s; " RELOAD "\n", text, path);
	report_creation(&change, path);
	return STATUS_OK;
}

/* --- token --- */

static void hash_token(const char *token, char hash[TOKEN_HASH_MAX])
{
	unsigned char digest[SECRET_DIGEST];
	char *to = hash + sprintf(hash, "sha256:");

	secret_digest(token, strlen(token), digest);
	for (size_t i = 0; i < SECRET_DIGEST; i++)
		to += sprintf(to, "%02x", digest[i]);
}

/* The standard output has only what the caller cannot find out otherwise. */
static int print_token(
    const struct options *options, const char *token, const char *hash, bool stored)
{
	if (options->json)
		return json_print(json_pack("{s:s, s:s}", "token", token, "hash", hash)) == 0
			   ? STATUS_OK
			   : STATUS_NO;
	puts(token);
	if (!stored)
		puts(hash);
	return STATUS_OK;
}

int token_command(const struct options *options, int count, char **arguments)
{
	char token[SECRET_TOKEN_HEX], hash[TOKEN_HASH_MAX], text[1024];
	struct users_change change;
	int status;

	if (count == 1) {
		complain("token: after FILE, the NAME is missing");
		return STATUS_USAGE;
	}
	if (count > 0 && !parse_arguments(&change, count, arguments))
		return STATUS_USAGE;
	if (secret_token(token) == -1) {
		complain("cannot make a token: %s", strerror(errno));
		return STATUS_NO;
	}
	hash_token(token, hash);
	if (count > 0) {
		change.hash = hash;
		if (users_file_check(arguments[0], change.name) == -1 ||
		    users_file_change(arguments[0], &change) == -1)
			return STATUS_NO;
		describe(&change, "token", text, sizeof(text));
		complain("%s %s; " RELOAD, text, arguments[0]);
		report_creation(&change, arguments[0]);
	}
	status = print_token(options, token, hash, count > 0);
	explicit_bzero(token, sizeof(token));
	return status;
}
