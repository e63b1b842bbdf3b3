/*
 * An attempt is tried again from the beginning after each wait, by the client's message, so that what has changed by a
 * reload counts. That a password is right is then known to net/passwords, and that an attempt was wrong to the attempt
 * itself.
 */
#include "services/kv_login.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/log_escape.h"
#include "net/address.h"
#include "net/framing.h"
#include "net/instance.h"
#include "net/loop.h"
#include "net/passwords.h"
#include "net/peer.h"
#include "net/stream.h"
#include "net/task.h"
#include "net/tls_identity.h"
#include "services/kv.h"

enum attempt_phase {
	ATTEMPT_IDLE,    /* some were wrong before */
	ATTEMPT_CHECKED, /* by the thread of net/passwords */
	ATTEMPT_DELAYED, /* it is wrong, and its answer waits */
	ATTEMPT_WRONG,   /* and is due */
	ATTEMPT_REFUSED, /* the same of one that was not checked, because too many others were */
};

struct attempt {
	TAILQ_ENTRY(attempt) entry; /* in kv->logins.delayed */
	struct stream *stream;
	enum attempt_phase phase, next; /* `next` of ATTEMPT_DELAYED */
	struct password_check *check;   /* of ATTEMPT_CHECKED */
	bool is_decoy;                  /* the check is against the hash of another user */
	int64_t due;                    /* ms, of ATTEMPT_DELAYED */
	unsigned wrong;
	struct message message; /* that is to be served again; bytes NULL = none */
};

static struct kv *kv_of(const struct stream *stream)
{
	return stream_instance(stream)->state;
}

/* --- the delay --- */

static void logins_work(void *arg)
{
	struct logins *logins = &((struct kv *)((struct instance *)arg)->state)->logins;
	struct attempt *attempt;

	while ((attempt = TAILQ_FIRST(&logins->delayed)) != NULL && attempt->due <= clock_ms()) {
		TAILQ_REMOVE(&logins->delayed, attempt, entry);
		attempt->phase = attempt->next;
		stream_resume(attempt->stream);
	}
	if (attempt != NULL)
		task_schedule(logins->task, attempt->due - clock_ms());
}

int kv_logins_begin(struct logins *logins, struct instance *instance)
{
	TAILQ_INIT(&logins->delayed);
	logins->task = task_new(instance->loop, -1, logins_work, instance);
	return logins->task == NULL ? -1 : 0;
}

void kv_logins_end(struct logins *logins)
{
	task_free(logins->task);
}

static void delay(struct attempt *attempt, enum attempt_phase next)
{
	struct logins *logins = &kv_of(attempt->stream)->logins;

	attempt->phase = ATTEMPT_DELAYED;
	attempt->next = next;
	attempt->due = clock_ms() + LOGIN_DELAY_MS;
	TAILQ_INSERT_TAIL(&logins->delayed, attempt, entry);
	task_schedule(logins->task, LOGIN_DELAY_MS);
}

/* --- an attempt --- */

static void log_wrong(const struct stream *stream, struct slice name)
{
	struct instance *instance = stream_instance(stream);
	char peer[ADDRESS_TEXT_MAX], user[2 * USER_NAME_MAX];

	log_limited(&instance->service_lines, LOG_LEVEL_INFO,
	    "%s %s: wrong name or password, for the user \"%s\"", instance->name,
	    peer_format(stream_peer(stream), peer, sizeof(peer)),
	    log_escape(user, sizeof(user), name.bytes, name.length));
}

/* Not if others are waiting, which is counted, but if the thread cannot start, or there is no memory. */
static void log_unchecked(const struct stream *stream)
{
	struct instance *instance = stream_instance(stream);

	if (errno != EBUSY)
		log_limited(&instance->service_lines, LOG_LEVEL_ERROR,
		    "%s: cannot check a password: %s", instance->name, strerror(errno));
}

static void checked(void *arg, bool matches)
{
	struct attempt *attempt = arg;

	attempt->check = NULL;
	if (!matches || attempt->is_decoy) {
		delay(attempt, ATTEMPT_WRONG);
		return;
	}
	attempt->phase = ATTEMPT_IDLE;
	stream_resume(attempt->stream);
}

/* That of the login, or a new one; NULL when out of memory. */
static struct attempt *get_attempt(struct stream *stream, struct login *login)
{
	if (login->attempt == NULL && (login->attempt = calloc(1, sizeof(struct attempt))) != NULL)
		login->attempt->stream = stream;
	return login->attempt;
}

/* Has the password checked; that of no user against the hash of another one, so that it takes as long. */
static enum login_result begin_check(struct stream *stream, struct login *login, const char *hash,
    bool is_decoy, struct slice secret)
{
	struct attempt *attempt = get_attempt(stream, login);

	if (attempt == NULL)
		return LOGIN_NO_MEMORY;
	attempt->is_decoy = is_decoy;
	attempt->check = passwords_check(stream_instance(stream)->loop->passwords, hash, secret,
	    stream_peer(stream), checked, attempt);
	if (attempt->check != NULL) {
		attempt->phase = ATTEMPT_CHECKED;
	} else {
		log_unchecked(stream);
		kv_of(stream)->logins.refused++;
		delay(attempt, ATTEMPT_REFUSED);
	}
	return LOGIN_WAITS;
}

static enum login_result begin_delay(struct stream *stream, struct login *login)
{
	struct attempt *attempt = get_attempt(stream, login);

	if (attempt == NULL)
		return LOGIN_NO_MEMORY;
	delay(attempt, ATTEMPT_WRONG);
	return LOGIN_WAITS;
}

static enum login_result succeed(
    struct stream *stream, struct login *login, const struct user *user)
{
	struct kv *kv = kv_of(stream);

	kv->logins.succeeded++;
	free(login->attempt);
	login->attempt = NULL;
	login->user = user;
	stream_set_stranger(stream, false);
	return LOGIN_OK;
}

static enum login_result fail(struct stream *stream, struct attempt *attempt, struct slice name)
{
	kv_of(stream)->logins.failed++;
	log_wrong(stream, name);
	attempt->phase = ATTEMPT_IDLE;
	return ++attempt->wrong < LOGIN_ATTEMPTS ? LOGIN_WRONG : LOGIN_WRONG_LAST;
}

enum login_result kv_login_try(
    struct stream *stream, struct login *login, struct slice name, struct slice secret)
{
	const struct users *users = kv_of(stream)->users;
	const struct passwords *passwords = stream_instance(stream)->loop->passwords;
	const struct user *user = users == NULL ? NULL : users_find(users, name);
	bool has_password = user != NULL && user->proof == USER_PASSWORD;
	struct attempt *attempt = login->attempt;
	unsigned char digest[SECRET_DIGEST];

	if (users == NULL) {
		free(attempt);
		login->attempt = NULL;
		return LOGIN_NO_USERS;
	}
	if (attempt != NULL && attempt->phase == ATTEMPT_WRONG)
		return fail(stream, attempt, name);
	if (attempt != NULL && attempt->phase == ATTEMPT_REFUSED) {
		attempt->phase = ATTEMPT_IDLE;
		return LOGIN_BUSY;
	}
	if (user != NULL && user->proof == USER_TOKEN) {
		secret_digest(secret.bytes, secret.length, digest);
		if (secret_digest_equal(digest, user->digest))
			return succeed(stream, login, user);
	}
	if (has_password && passwords_know(passwords, user->secret, secret))
		return succeed(stream, login, user);
	if (!has_password && users->decoy == NULL)
		return begin_delay(stream, login);
	return begin_check(
	    stream, login, has_password ? user->secret : users->decoy, !has_password, secret);
}

bool kv_login_keep(struct login *login, const struct message *message)
{
	struct message *kept = &login->attempt->message;

	kept->bytes = malloc(message->length + 1);
	if (kept->bytes == NULL)
		return false;
	memcpy(kept->bytes, message->bytes, message->length);
	kept->length = message->length;
	return true;
}

bool kv_login_take(struct login *login, struct message *message)
{
	if (login->attempt == NULL || login->attempt->message.bytes == NULL)
		return false;
	*message = login->attempt->message;
	login->attempt->message.bytes = NULL;
	return true;
}

void kv_login_free_message(struct message *message)
{
	if (message->bytes == NULL)
		return;
	explicit_bzero(message->bytes, message->length);
	free(message->bytes);
}

bool kv_login_is_pending(const struct login *login)
{
	return login->attempt != NULL && login->attempt->phase != ATTEMPT_IDLE;
}

/* --- clients --- */

/* Whom the socket or the certificate says; NULL = nobody. A proxy's socket says nothing of its clients. */
static const struct user *find_user(const struct stream *stream)
{
	const struct users *users = kv_of(stream)->users;
	struct tls_identity identity;
	struct ucred credentials;

	if (stream_is_unix(stream) && !stream_is_proxied(stream) &&
	    stream_credentials(stream, &credentials) == 0)
		return users_find_uid(users, credentials.uid);
	if (stream_identity(stream, &identity))
		return users_find_certificate(users, identity.name, identity.fingerprint);
	return NULL;
}

void kv_login_open(struct stream *stream, struct login *login)
{
	bool has_users = kv_of(stream)->users != NULL;

	login->user = has_users ? find_user(stream) : NULL;
	stream_set_stranger(stream, has_users && login->user == NULL);
}

void kv_login_close(struct kv *kv, struct login *login)
{
	struct attempt *attempt = login->attempt;

	if (attempt == NULL)
		return;
	if (attempt->phase == ATTEMPT_DELAYED)
		TAILQ_REMOVE(&kv->logins.delayed, attempt, entry);
	if (attempt->phase == ATTEMPT_CHECKED)
		passwords_cancel(stream_instance(attempt->stream)->loop->passwords, attempt->check);
	kv_login_free_message(&attempt->message);
	free(attempt);
	login->attempt = NULL;
}

const char *kv_login_name(const struct kv *kv, const struct login *login)
{
	return kv->users == NULL ? "default" : login->user == NULL ? "" : login->user->name;
}

void kv_login_restrict(const struct login *login, struct call *call)
{
	bool is_command =
	    call->status != KV_EMPTY && call->status != KV_UNKNOWN && call->status != KV_NO_MEMORY;

	if (login->user == NULL && !(is_command && call->command->flags & COMMAND_OPEN)) {
		call->status = KV_NOT_AUTHENTICATED;
		return;
	}
	call->user = login->user == NULL ? &user_nobody : login->user;
	if (call->status == KV_OK)
		call->status = user_check(call->user, call);
}

/* --- reloads --- */

/* The user that takes the place of the one that the client is; NULL = none does. */
static const struct user *find_successor(const struct users *users, const struct user *before)
{
	const struct user *user =
	    users_find(users, (struct slice){ before->name, strlen(before->name) });

	return user != NULL && user_is_same(user, before) ? user : NULL;
}

bool kv_login_recheck(struct stream *stream, struct login *login)
{
	const struct users *users = kv_of(stream)->users;
	const struct user *before = login->user;

	login->user = users == NULL || before == NULL ? NULL : find_successor(users, before);
	if (login->user == NULL)
		kv_login_open(stream, login);
	if (users == NULL)
		return true;
	return before != NULL && login->user != NULL && user_has_rights_of(login->user, before);
}
