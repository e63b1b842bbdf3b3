/*
 * Any bytes as a file of users: there is a list or there are errors, each user is found by all that it is known by, and a
 * call passes only with the right for it and with keys of the user's patterns.
 */
#include "kv/users.h"

#include <pwd.h>
#include <stdbool.h>
#include <string.h>

#include "core/strings.h"
#include "fuzz.h"

#define ERRORS_MAX 20
#define WORDS 6
#define USERS_MAX 8 /* more of them make calls like the first ones */

/* The system has the users "root" and "nobody", whatever system it is. */
struct passwd *getpwnam(const char *name)
{
	static struct passwd entry;

	entry.pw_uid = strcmp(name, "nobody") == 0 ? 65534 : 0;
	return entry.pw_uid != 0 || strcmp(name, "root") == 0 ? &entry : NULL;
}

static struct users *parse(const char *text, size_t length)
{
	struct strings errors = { 0 };
	struct users *users = users_new("FILE", text, length, &errors);

	require((users == NULL) == (errors.count > 0) && !errors.lost);
	require(errors.count <= ERRORS_MAX);
	for (size_t i = 0; i < errors.count; i++)
		require(strncmp(errors.items[i], "FILE:", 5) == 0);
	strings_clear(&errors);
	return users;
}

static struct slice name_of(const struct user *user)
{
	return (struct slice){ user->name, strlen(user->name) };
}

/* --- the list --- */

static void check_patterns(const struct user *user)
{
	bool has_all = false;

	require(user->pattern_count > 0);
	for (size_t i = 0; i < user->pattern_count; i++) {
		struct slice pattern = user->patterns[i];

		require(pattern.length > 0 && pattern.length <= PATTERN_MAX);
		require(memchr(pattern.bytes, ',', pattern.length) == NULL);
		has_all |= pattern.length == 1 && *pattern.bytes == '*';
	}
	require(user->has_all_keys == has_all);
}

static void check_user(const struct users *users, const struct user *user)
{
	struct slice name = name_of(user);

	require(name.length > 0 && name.length <= USER_NAME_MAX);
	require(user->rights > 0 && user->rights < 8 && user->line > 0);
	require(users_find(users, name) == user);
	if (user->proof == USER_UID)
		require(users_find_uid(users, user->uid) == user);
	if (user->proof == USER_CERTIFICATE) {
		require(users_find_certificate(users, user->secret, "") == user);
		require(users_find_certificate(users, "", user->secret) == user);
	}
	if (user->proof == USER_PASSWORD)
		require(users->decoy != NULL);
	require(user_is_same(user, user) && user_has_rights_of(user, user));
	check_patterns(user);
}

static void check_list(const struct users *users)
{
	bool is_decoy = users->decoy == NULL;

	for (size_t i = 0; i < users->count; i++) {
		const struct user *user = &users->items[i];

		check_user(users, user);
		require(i == 0 || strcmp(user[-1].name, user->name) < 0);
		require(i == 0 || !user_is_same(&user[-1], user));
		is_decoy |= user->proof == USER_PASSWORD && user->secret == users->decoy;
	}
	require(is_decoy);
	require(users_find(users, (struct slice){ "", 0 }) == NULL);
	require(users_find_certificate(users, "", "") == NULL);
}

/* A line end behind the last line changes nothing. */
static void check_line_end(const struct users *users, const char *text, size_t length)
{
	char *longer = malloc(length + 2);
	struct users *others;

	require(longer != NULL);
	memcpy(longer, text, length);
	memcpy(longer + length, "\r\n", 2);
	others = parse(longer, length + 2);
	require((others == NULL) == (users == NULL));
	require(users == NULL || others->count == users->count);
	for (size_t i = 0; users != NULL && i < users->count; i++) {
		require(user_is_same(&users->items[i], &others->items[i]));
		require(user_has_rights_of(&users->items[i], &others->items[i]));
	}
	users_free(others);
	free(longer);
}

/* --- calls --- */

/* Cuts the text into words, where the file has its separators. */
static size_t cut(const char *text, size_t length, struct slice words[WORDS])
{
	size_t count = 0, at = 0;

	while (count < WORDS && at < length) {
		size_t from = at;

		while (at < length && memchr(":,\n ", text[at], 4) == NULL)
			at++;
		if (at > from)
			words[count++] = (struct slice){ text + from, at - from };
		at++;
	}
	return count;
}

static void check_call(const struct user *user, const struct call *call)
{
	bool writes = call->command->flags & (COMMAND_GROWS | COMMAND_WRITES);
	struct user stronger = *user;
	enum kv_status status = user_check(user, call);
	size_t work = 0;

	require(status == KV_OK || status == KV_NOT_ALLOWED || status == KV_KEY_NOT_ALLOWED);
	require((status == KV_NOT_ALLOWED) == !user_may_run(user, call->command));
	require(status != KV_KEY_NOT_ALLOWED || !user->has_all_keys);
	if (status != KV_OK)
		return;
	require(!writes || user->rights & (RIGHT_WRITE | RIGHT_ADMIN));
	if (call->command->args[0].type == ARG_KEY)
		require(
		    user_may_use(user, (struct slice){ call->key.bytes, call->key.length }, &work));
	stronger.has_all_keys = true;
	stronger.rights = RIGHT_READ | RIGHT_WRITE | RIGHT_ADMIN;
	require(user_check(&stronger, call) == KV_OK);
}

/* All commands with the same words, as many as each takes. */
static void check_calls(
    const struct user *user, const struct command *rows, struct slice *words, size_t count)
{
	static const struct call_limits limits = { .max_key = 1000, .max_value = 1000 };
	struct call call;

	for (const struct command *row = rows; row->name != NULL; row++)
		for (size_t n = 0; n <= count; n++) {
			if (command_read(row, words, n, &limits, &call) != KV_OK)
				continue;
			check_call(user, &call);
			require(user_check(&user_nobody, &call) ==
				(row->flags & COMMAND_OPEN ? KV_OK : KV_NOT_ALLOWED));
		}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *text = (const char *)data;
	struct users *users = parse(text, size);
	struct slice words[WORDS];
	size_t count = cut(text, size, words);

	check_line_end(users, text, size);
	if (users == NULL)
		return 0;
	check_list(users);
	for (size_t i = 0; i < users->count && i < USERS_MAX; i++) {
		check_calls(&users->items[i], commands, words, count);
		check_calls(&users->items[i], commands_redis, words, count);
	}
	users_free(users);
	return 0;
}
