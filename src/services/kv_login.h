/*
 * The login of a client of kv: who it is, and its attempts to show that it is somebody. A wrong name or password is
 * answered after a second, and the third one ends the client. Without users there are no logins, and every client may do
 * everything.
 */
#ifndef ECHOD_SERVICES_KV_LOGIN_H
#define ECHOD_SERVICES_KV_LOGIN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "core/slice.h"
#include "kv/users.h"

struct attempt;
struct call;
struct instance;
struct kv;
struct message;
struct stream;
struct task;

#define LOGIN_DELAY_MS 1000 /* from the end of a check to the answer that it was wrong */
#define LOGIN_ATTEMPTS 3    /* wrong ones */

/* What the service keeps for a client, at the beginning of its state. Zeroed = it is nobody. */
struct login {
	const struct user *user; /* NULL = nobody, or there are no users */
	struct attempt *attempt; /* NULL = none is being checked, and none was wrong */
};

TAILQ_HEAD(attempts, attempt);

/* Those of an instance. */
struct logins {
	struct attempts delayed;             /* which are wrong, in the order of their answers */
	struct task *task;                   /* answers them */
	uint64_t succeeded, failed, refused; /* refused: too many were waiting */
};

/* 0, or -1 with errno. */
int kv_logins_begin(struct logins *logins, struct instance *instance);
void kv_logins_end(struct logins *logins);

/* The client is new, or is to be as new: it is who its socket or its certificate says. */
void kv_login_open(struct stream *stream, struct login *login);
void kv_login_close(struct kv *kv, struct login *login);
/*
 * There is another list of users; the one before is still there. Its users go on if the new list has them, by the same
 * proof. false: the client may do less than before.
 */
bool kv_login_recheck(struct stream *stream, struct login *login);

enum login_result {
	LOGIN_OK,
	LOGIN_WAITS,      /* VERDICT_WAIT; it is to be tried again after that, by kv_login_take() */
	LOGIN_WRONG,      /* the name, or the password */
	LOGIN_WRONG_LAST, /* the same, and the client is to end */
	LOGIN_BUSY,       /* too many are being checked */
	LOGIN_NO_USERS,   /* there are none, perhaps since a reload */
	LOGIN_NO_MEMORY,
};

/* The client says that it is the user of that name. */
enum login_result kv_login_try(
    struct stream *stream, struct login *login, struct slice name, struct slice secret);
/* Keeps the message of an attempt that waits. false when out of memory. */
bool kv_login_keep(struct login *login, const struct message *message);
/* Fills in the message that was kept, for kv_login_free_message(). false: there is none. */
bool kv_login_take(struct login *login, struct message *message);
void kv_login_free_message(struct message *message);
/* Whether an attempt is being checked or waits for its answer. */
bool kv_login_is_pending(const struct login *login);

/* "default" without users, "" before the login. */
const char *kv_login_name(const struct kv *kv, const struct login *login);

/* Lets a call fail that the client may not make, and says whose it is. There are users. */
void kv_login_restrict(const struct login *login, struct call *call);

#endif
