/*
 * The users of a kv service, as its file `users` lists them: how each is known, and what each may do. A list is whole
 * and is not changed once it is made.
 */
#ifndef ECHOD_KV_USERS_H
#define ECHOD_KV_USERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "core/secret.h"
#include "core/slice.h"
#include "kv/command.h"

struct strings;

#define USER_NAME_MAX 64 /* bytes */

/* How a client shows that it is the user. */
enum user_proof {
	USER_PASSWORD,    /* by a password, whose hash is `secret` */
	USER_TOKEN,       /* by a token, whose SHA-256 is `digest` */
	USER_UID,         /* by the user that it runs as, over a Unix socket */
	USER_CERTIFICATE, /* by a client certificate; `secret` is the identity that it names */
};

enum user_rights { RIGHT_READ = 1, RIGHT_WRITE = 2, RIGHT_ADMIN = 4 };

struct user {
	const char *name;
	enum user_proof proof;
	const char *secret;
	unsigned char digest[SECRET_DIGEST];
	uid_t uid;
	unsigned rights; /* enum user_rights */
	bool has_all_keys;
	struct slice *patterns; /* of the keys that it may use */
	size_t pattern_count;
	int line;   /* of the file */
	char *text; /* that line, which the strings are parts of */
	size_t text_length;
};

struct users {
	struct user *items; /* sorted by name */
	size_t count;
	const struct user **nameless; /* those of USER_UID and USER_CERTIFICATE, sorted by that */
	size_t nameless_count;
	/* Some password's hash, to be checked in place of that of an unknown name; NULL = there is none. */
	const char *decoy;
};

/*
 * Reads a list from the text of the file. NULL with an error added for each mistake, as FILE:LINE: TEXT. Looks system
 * users up.
 */
struct users *users_new(const char *file, const char *text, size_t length, struct strings *errors);
/* NULL is fine. */
void users_free(struct users *users);

/* NULL = there is none. */
const struct user *users_find(const struct users *users, struct slice name);
const struct user *users_find_uid(const struct users *users, uid_t uid);
/* By the name ("dns:a.example", "uri:...") or the fingerprint ("sha256:...") of a certificate; "" = it has none. */
const struct user *users_find_certificate(
    const struct users *users, const char *name, const char *fingerprint);

/* Whether both are known in the same way. One whose password was changed is another user. */
bool user_is_same(const struct user *a, const struct user *b);

/* Whether both may do the same. */
bool user_has_rights_of(const struct user *a, const struct user *b);

/* One who may do nothing but what needs no rights: a client before its login. */
extern const struct user user_nobody;

/* Whether it may run the command at all. */
bool user_may_run(const struct user *user, const struct command *command);
/* Whether it may use the key, or the channel of messages; *work is increased as by glob_match(). */
bool user_may_use(const struct user *user, struct slice key, size_t *work);
/* Whether it may run the call, which has been read without an error: KV_OK, KV_NOT_ALLOWED or KV_KEY_NOT_ALLOWED. */
enum kv_status user_check(const struct user *user, const struct call *call);

#endif
