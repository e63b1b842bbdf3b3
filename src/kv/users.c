/*
 * A line is NAME:HASH:RIGHTS:PATTERNS. PATTERNS is the rest of the line, because keys may have colons. HASH is that of
 * crypt(5), which has none, or a prefix with a value, which ends where the rights begin.
 */
#include "kv/users.h"

#include <errno.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/error.h"
#include "core/strings.h"
#include "kv/glob.h"

#define ERRORS_MAX 20 /* then the file is probably none of this kind */

const struct user user_nobody = { .name = "" };

/* --- parsing --- */

/* Reads the field up to the next colon; NULL = there is none. */
static char *next_field(char **at)
{
	char *field = *at, *colon = strchr(field, ':');

	if (colon == NULL)
		return NULL;
	*colon = '\0';
	*at = colon + 1;
	return field;
}

static bool is_name(const char *name)
{
	size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
				     "0123456789._-@");

	return length > 0 && length <= USER_NAME_MAX && name[length] == '\0';
}

/* The bits of a word such as "rw"; 0 = it is none. */
static unsigned rights_of(const char *word, size_t length)
{
	unsigned rights = 0;

	for (size_t i = 0; i < length; i++) {
		unsigned right = word[i] == 'r'   ? RIGHT_READ
				 : word[i] == 'w' ? RIGHT_WRITE
				 : word[i] == 'a' ? RIGHT_ADMIN
						  : 0;

		if (right == 0 || rights & right)
			return 0;
		rights |= right;
	}
	return rights;
}

/* The colon in front of the next "RIGHTS:", from `at` on; NULL = there is none. */
static char *find_rights(char *at)
{
	for (at = strchr(at, ':'); at != NULL; at = strchr(at + 1, ':')) {
		size_t length = strcspn(at + 1, ":");

		if (at[1 + length] == ':' && rights_of(at + 1, length) != 0)
			return at;
	}
	return NULL;
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static int parse_token(struct user *user, char *digits, struct error *error)
{
	for (size_t i = 0; i < SECRET_DIGEST; i++) {
		int high = hex_digit(digits[2 * i]);
		int low = high == -1 ? -1 : hex_digit(digits[2 * i + 1]);

		if (low == -1)
			return error_set(error,
			    "expected 64 hexadecimal digits in small letters behind sha256:, as "
			    "\"echoctl token\" prints them");
		user->digest[i] = (unsigned char)(high << 4 | low);
	}
	if (digits[2 * SECRET_DIGEST] != '\0')
		return error_set(error, "there are more than 64 digits behind sha256:");
	user->proof = USER_TOKEN;
	return 0;
}

static int parse_uid(struct user *user, char *name, struct error *error)
{
	const struct passwd *entry;
	unsigned long number;
	char *end;

	user->proof = USER_UID;
	number = strtoul(name, &end, 10);
	if (*name >= '0' && *name <= '9' && *end == '\0' && number < UINT_MAX) {
		user->uid = (uid_t)number;
		return 0;
	}
	errno = 0;
	if ((entry = getpwnam(name)) == NULL)
		return error_set(error,
		    "expected the name or number of a system user behind uid:, got \"%.64s\"%s%s",
		    name, errno == 0 ? "" : ": ", errno == 0 ? "" : strerror(errno));
	user->uid = entry->pw_uid;
	return 0;
}

static int refuse_certificate(struct user *user, char *identity, struct error *error)
{
	(void)user;
	return error_set(error,
	    "expected cert:dns:NAME, cert:uri:URI or cert:sha256:FINGERPRINT, with the identity "
	    "as \"echoctl clients\" shows it, got \"cert:%.64s\"",
	    identity);
}

static int parse_certificate(struct user *user, char *name, struct error *error)
{
	char *kind = name - strlen("dns:");

	if (*name == '\0')
		return refuse_certificate(user, kind, error);
	user->proof = USER_CERTIFICATE;
	user->secret = kind;
	/* As in an identity, only a URI has capitals. */
	if (memcmp(kind, "uri:", 4) != 0)
		for (; *name != '\0'; name++)
			*name = (char)(*name >= 'A' && *name <= 'Z' ? *name | 0x20 : *name);
	return 0;
}

static int parse_fingerprint(struct user *user, char *digits, struct error *error)
{
	if (strlen(digits) != 64 || digits[strspn(digits, "0123456789abcdef")] != '\0')
		return error_set(error,
		    "expected 64 hexadecimal digits in small letters behind cert:sha256:, as "
		    "\"echoctl clients\" shows them");
	user->proof = USER_CERTIFICATE;
	user->secret = digits - strlen("sha256:");
	return 0;
}

/* Reads how the user is known, and moves *at behind it. */
static int parse_proof(struct user *user, char **at, struct error *error)
{
	static const struct {
		const char *prefix;
		int (*parse)(struct user *user, char *value, struct error *error);
		bool has_colons; /* the value may have them */
	} proofs[] = {
		{ "sha256:", parse_token, false },
		{ "uid:", parse_uid, false },
		{ "cert:dns:", parse_certificate, false },
		{ "cert:uri:", parse_certificate, true },
		{ "cert:sha256:", parse_fingerprint, false },
		{ "cert:", refuse_certificate, false },
	};
	char *hash = *at, *end;

	for (size_t i = 0; i < sizeof(proofs) / sizeof(proofs[0]); i++) {
		size_t length = strlen(proofs[i].prefix);

		if (strncmp(hash, proofs[i].prefix, length) != 0)
			continue;
		/* Only a URI may have colons. */
		end =
		    proofs[i].has_colons ? find_rights(hash + length) : strchr(hash + length, ':');
		if (end != NULL && proofs[i].has_colons && find_rights(end + 1) != NULL)
			return error_set(error,
			    "it is not clear which of the fields behind %s are RIGHTS (in a "
			    "pattern, ? stands for a colon, too)",
			    proofs[i].prefix);
		if (end == NULL)
			return error_set(error,
			    "expected RIGHTS, of the letters r, w and a, and a colon behind %s...",
			    proofs[i].prefix);
		*end = '\0';
		*at = end + 1;
		return proofs[i].parse(user, hash + length, error);
	}
	hash = next_field(at);
	if (hash == NULL)
		return error_set(error, "expected NAME:HASH:RIGHTS:PATTERNS, found no RIGHTS");
	user->proof = USER_PASSWORD;
	user->secret = hash;
	return secret_hash_check(hash, error);
}

static int parse_patterns(struct user *user, char *at, struct error *error)
{
	size_t count = 1;

	for (const char *comma = strchr(at, ','); comma != NULL; comma = strchr(comma + 1, ','))
		count++;
	user->patterns = calloc(count, sizeof(*user->patterns));
	if (user->patterns == NULL)
		return error_memory(error);
	for (size_t i = 0; i < count; i++) {
		size_t length = strcspn(at, ",");

		if (length == 0)
			return error_set(error,
			    "expected patterns of keys with commas between, or *, found an empty one");
		if (*at == ' ' || at[length - 1] == ' ')
			return error_set(error,
			    "a pattern begins or ends with a blank (if keys do, ? stands for one, "
			    "too): \"%.*s\"",
			    length < 80 ? (int)length : 80, at);
		if (length > PATTERN_MAX)
			return error_set(error, "a pattern is longer than %d bytes", PATTERN_MAX);
		user->patterns[user->pattern_count++] = (struct slice){ at, length };
		user->has_all_keys |= length == 1 && *at == '*';
		at += length + 1;
	}
	return 0;
}

/* Reads a line, whose copy user->text is. */
static int parse_line(struct user *user, struct error *error)
{
	char *at = user->text, *name = next_field(&at), *rights;

	if (name == NULL)
		return error_set(error, "expected NAME:HASH:RIGHTS:PATTERNS, found no colon");
	if (!is_name(name))
		return error_set(error,
		    "expected a name of letters, digits, \".\", \"_\", \"-\" and \"@\", at most %d "
		    "bytes, got \"%.80s\"",
		    USER_NAME_MAX, name);
	user->name = name;
	if (parse_proof(user, &at, error) == -1)
		return -1;
	rights = next_field(&at);
	if (rights == NULL)
		return error_set(
		    error, "expected NAME:HASH:RIGHTS:PATTERNS, found no PATTERNS (* = all keys)");
	user->rights = rights_of(rights, strlen(rights));
	if (user->rights == 0)
		return error_set(error,
		    "expected RIGHTS of the letters r (reads), w (writes) and a (administers), got "
		    "\"%.16s\"",
		    rights);
	return parse_patterns(user, at, error);
}

static void user_clear(struct user *user)
{
	if (user->text != NULL)
		explicit_bzero(user->text, user->text_length);
	free(user->text);
	free(user->patterns);
}

/* Adds the user of a line that is not empty. 0, or -1 with an error. */
static int add_user(
    struct users *users, const char *line, size_t length, int number, struct error *error)
{
	struct user *items, user = { .line = number, .text_length = length };

	if ((users->count & (users->count - 1)) == 0) { /* full: it doubles */
		items = reallocarray(users->items, 2 * users->count + 1, sizeof(*items));
		if (items == NULL)
			return error_memory(error);
		users->items = items;
	}
	if (memchr(line, '\0', length) != NULL)
		return error_set(error, "there is a NUL byte in the line");
	user.text = strndup(line, length);
	if (user.text == NULL)
		return error_memory(error);
	if (parse_line(&user, error) == -1) {
		user_clear(&user);
		return -1;
	}
	users->items[users->count++] = user;
	return 0;
}

static int compare_users(const void *a, const void *b)
{
	const struct user *first = a, *second = b;
	int order = strcmp(first->name, second->name);

	return order != 0 ? order : first->line - second->line;
}

/* By what a client is known without a name. */
static int compare_proofs(const void *a, const void *b)
{
	const struct user *first = *(const struct user *const *)a;
	const struct user *second = *(const struct user *const *)b;

	if (first->proof != second->proof)
		return first->proof < second->proof ? -1 : 1;
	if (first->proof == USER_UID)
		return (first->uid > second->uid) - (first->uid < second->uid);
	return strcmp(first->secret, second->secret);
}

/* The same; of equal ones, the first in the list is first. */
static int compare_nameless(const void *a, const void *b)
{
	const struct user *first = *(const struct user *const *)a;
	const struct user *second = *(const struct user *const *)b;
	int order = compare_proofs(a, b);

	return order != 0 ? order : (first > second) - (first < second);
}

/* Fills in the nameless ones. 0, or -1 when out of memory. */
static int collect_nameless(struct users *users)
{
	users->nameless = calloc(users->count + 1, sizeof(struct user *));
	if (users->nameless == NULL)
		return -1;
	for (size_t i = 0; i < users->count; i++) {
		const struct user *user = &users->items[i];

		if (user->proof == USER_UID || user->proof == USER_CERTIFICATE)
			users->nameless[users->nameless_count++] = user;
		else if (user->proof == USER_PASSWORD)
			users->decoy = user->secret;
	}
	qsort(users->nameless, users->nameless_count, sizeof(struct user *), compare_nameless);
	return 0;
}

/* Sorts the list. Names are known once, and so is what a client is known by without a name. */
static void sort_users(
    struct users *users, const char *file, struct strings *errors, size_t errors_max)
{
	const struct user *first = NULL;

	if (users->count > 0)
		qsort(users->items, users->count, sizeof(*users->items), compare_users);
	if (collect_nameless(users) == -1) {
		errors->lost = true;
		return;
	}
	for (size_t i = 1; i < users->count && errors->count < errors_max; i++) {
		const struct user *user = &users->items[i];

		if (strcmp(user->name, user[-1].name) == 0)
			strings_addf(errors, "%s:%d: the user %s is in line %d already", file,
			    user->line, user->name, user[-1].line);
	}
	for (size_t i = 0; i < users->nameless_count && errors->count < errors_max; i++) {
		const struct user *user = users->nameless[i];

		if (first == NULL || compare_proofs(&first, &user) != 0)
			first = user;
		else if (strcmp(user->name, user[-1].name) != 0) /* else that is its mistake */
			strings_addf(errors, "%s:%d: %s is known in the same way as %s in line %d",
			    file, user->line, user->name, first->name, first->line);
	}
}

void users_free(struct users *users)
{
	if (users == NULL)
		return;
	for (size_t i = 0; i < users->count; i++)
		user_clear(&users->items[i]);
	free(users->items);
	free(users->nameless);
	free(users);
}

struct users *users_new(const char *file, const char *text, size_t length, struct strings *errors)
{
	struct users *users = calloc(1, sizeof(*users));
	const char *end = text + length;
	size_t before = errors->count;
	struct error error;
	int number = 0;

	if (users == NULL) {
		errors->lost = true;
		return NULL;
	}
	while (text < end && errors->count < before + ERRORS_MAX && !errors->lost) {
		const char *feed = memchr(text, '\n', (size_t)(end - text));
		const char *last = feed == NULL ? end : feed;
		size_t line = (size_t)(last - text);

		number++;
		while (line > 0 &&
		       (text[line - 1] == '\r' || text[line - 1] == ' ' || text[line - 1] == '\t'))
			line--;
		if (line > 0 && *text != '#' && add_user(users, text, line, number, &error) == -1)
			strings_addf(errors, "%s:%d: %s", file, number, error.text);
		text = last + 1;
	}
	sort_users(users, file, errors, before + ERRORS_MAX);
	if (errors->count == before && !errors->lost)
		return users;
	users_free(users);
	return NULL;
}

/* --- who it is --- */

const struct user *users_find(const struct users *users, struct slice name)
{
	size_t low = 0, high = users->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2, length;
		const struct user *user = &users->items[middle];
		int order;

		length = strlen(user->name);
		order = memcmp(name.bytes, user->name, name.length < length ? name.length : length);
		if (order == 0 && name.length == length)
			return user;
		if (order < 0 || (order == 0 && name.length < length))
			high = middle;
		else
			low = middle + 1;
	}
	return NULL;
}

static const struct user *find_nameless(const struct users *users, const struct user *like)
{
	const struct user **found = bsearch(
	    &like, users->nameless, users->nameless_count, sizeof(struct user *), compare_proofs);

	return found == NULL ? NULL : *found;
}

const struct user *users_find_uid(const struct users *users, uid_t uid)
{
	return find_nameless(users, &(struct user){ .proof = USER_UID, .uid = uid });
}

const struct user *users_find_certificate(
    const struct users *users, const char *name, const char *fingerprint)
{
	const struct user *user =
	    find_nameless(users, &(struct user){ .proof = USER_CERTIFICATE, .secret = name });

	return user != NULL ? user
			    : find_nameless(users, &(struct user){ .proof = USER_CERTIFICATE,
						       .secret = fingerprint });
}

bool user_is_same(const struct user *a, const struct user *b)
{
	if (a->proof != b->proof || strcmp(a->name, b->name) != 0)
		return false;
	switch (a->proof) {
	case USER_TOKEN:
		return secret_digest_equal(a->digest, b->digest);
	case USER_UID:
		return a->uid == b->uid;
	default:
		return strcmp(a->secret, b->secret) == 0;
	}
}

/* --- what it may do --- */

bool user_has_rights_of(const struct user *a, const struct user *b)
{
	if (a->rights != b->rights || a->pattern_count != b->pattern_count)
		return false;
	for (size_t i = 0; i < a->pattern_count; i++)
		if (!slice_is_equal(a->patterns[i], b->patterns[i]))
			return false;
	return true;
}

/* The rights that the command needs, whatever its arguments. */
static unsigned rights_needed(const struct command *command)
{
	unsigned needed = 0;

	if (command->flags & COMMAND_OPEN)
		return 0;
	if (command->flags & COMMAND_ADMIN)
		return RIGHT_ADMIN;
	if (command->flags & (COMMAND_GROWS | COMMAND_WRITES))
		needed = RIGHT_WRITE;
	else if (!(command->flags & COMMAND_LOCAL))
		needed = RIGHT_READ;
	if (command->flags & COMMAND_READS)
		needed |= RIGHT_READ;
	return needed;
}

bool user_may_run(const struct user *user, const struct command *command)
{
	unsigned needed = rights_needed(command);

	if (user == &user_nobody && !(command->flags & COMMAND_OPEN))
		return false;
	return (user->rights & needed) == needed;
}

bool user_may_use(const struct user *user, struct slice key, size_t *work)
{
	for (size_t i = 0; !user->has_all_keys && i < user->pattern_count; i++)
		if (glob_match(user->patterns[i], key, work))
			return true;
	return user->has_all_keys;
}

/* Whether it may subscribe to all channels that the pattern matches: only by a pattern of its own. */
static bool may_use_pattern(const struct user *user, struct slice pattern)
{
	for (size_t i = 0; !user->has_all_keys && i < user->pattern_count; i++)
		if (slice_is_equal(user->patterns[i], pattern))
			return true;
	return user->has_all_keys;
}

static bool may_use_word(const struct user *user, enum arg_type type, struct slice word)
{
	size_t work = 0;

	return type == ARG_KEY || type == ARG_CHANNEL ? user_may_use(user, word, &work)
	       : type == ARG_CHANNELS                 ? may_use_pattern(user, word)
						      : true;
}

/* The keys of a script are counted by its second argument. */
static bool may_use_script(const struct user *user, const struct call *call)
{
	int64_t keys;

	if (command_number(call->args[1], &keys) != KV_OK)
		return true; /* it is refused later */
	for (size_t i = 0; i < call->more_count && (int64_t)i < keys; i++)
		if (!may_use_word(user, ARG_KEY, call->more[i]))
			return false;
	return true;
}

static bool may_use_all(const struct user *user, const struct call *call)
{
	const struct arg *arg = call->command->args;
	size_t n = 0;

	if (call->command->flags & COMMAND_SCRIPT)
		return call->more_count == 0 || may_use_script(user, call);
	if (arg->type == ARG_KEY) {
		struct slice key = { call->key.bytes, call->key.length };

		if (!may_use_word(user, ARG_KEY, key))
			return false;
		arg += !(arg->flags & ARG_MANY);
	}
	for (; n < call->arg_count && arg->type != ARG_END; arg++, n++)
		if (!may_use_word(user, arg->type, call->args[n]))
			return false;
	for (size_t i = 0; i < call->more_count; i++) {
		enum arg_type type = arg->type == ARG_PAIRS && i % 2 == 0 ? ARG_KEY : arg->type;

		if (!may_use_word(user, type, call->more[i]))
			return false;
	}
	return true;
}

enum kv_status user_check(const struct user *user, const struct call *call)
{
	/* Which right a script needs is known only once it is found. */
	if (!(call->command->flags & COMMAND_SCRIPT) && !user_may_run(user, call->command))
		return KV_NOT_ALLOWED;
	if (user->has_all_keys)
		return KV_OK;
	if (call->command->flags & COMMAND_ALL_KEYS || !may_use_all(user, call))
		return KV_KEY_NOT_ALLOWED;
	return KV_OK;
}
