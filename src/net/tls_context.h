/*
 * A TLS context: what the listeners of an instance present to their clients, and ask of them. It is made whole from the
 * files that the configuration names. A reload or a renewal makes a new one, never changes one that is in use; a client
 * keeps the one that it began with.
 */
#ifndef ECHOD_NET_TLS_CONTEXT_H
#define ECHOD_NET_TLS_CONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

struct config;
struct instance;
struct instance_config;
struct ssl_st;
struct strings;
struct tls_context;

/* Whether this echod has TLS. */
extern const bool built_with_tls;

/*
 * Reads the files that the instance's settings name, as the user that root will become. If they and the settings are
 * those of `previous` (NULL = there is none), returns that with one more owner, so that its tickets stay valid. NULL with
 * errors added; warnings are added, too.
 */
struct tls_context *tls_context_new(const struct config *config,
    const struct instance_config *instance, struct tls_context *previous, struct strings *errors,
    struct strings *warnings);
/* Gives one owner's part up. Its clients go on; NULL is fine. */
void tls_context_free(struct tls_context *context);

/*
 * What tls_context_new() would say. Who cannot become the daemon's user gets a warning about a file that only this one
 * may read.
 */
void tls_context_check(const struct config *config, const struct instance_config *instance,
    struct strings *errors, struct strings *warnings);

/*
 * The instance's listeners present it from now on (NULL = none has TLS any more), in place of the one before. The instance
 * is its owner then, in place of the caller. Logs which certificates are new.
 */
void tls_context_install(struct tls_context *context, struct instance *instance);

/* OpenSSL's part of a new client, which the caller frees with SSL_free(). NULL when out of memory. */
struct ssl_st *tls_context_accept(struct tls_context *context);

/* --- its files --- */

/* How often they are looked at, and how long after a handshake. */
#define RENEWAL_INTERVAL_MS 60000
#define RENEWAL_SOON_MS 1000

enum tls_change {
	TLS_SAME, /* as they were read, or as they were when tls_context_new() failed after a change */
	TLS_CHANGING, /* somebody may be about to write more */
	TLS_CHANGED,  /* more than a second ago; returned once */
};

/* Whether the files have changed. */
enum tls_change tls_context_poll(struct tls_context *context);

/* --- what it presents, for an administrator --- */

struct tls_certificate_facts {
	const char *file;
	const struct strings *names;
	time_t not_before, not_after;
};

/* The certificate of that index; false = there are no more. The facts belong to the context. */
bool tls_context_certificate(
    const struct tls_context *context, size_t index, struct tls_certificate_facts *facts);

/*
 * The files have changed, and no context could be made of them: a problem of this one, which is used on, until a reload or
 * a renewal succeeds. Takes the errors over.
 */
void tls_context_note_failure(struct tls_context *context, struct strings *errors);

/* Adds a sentence for each certificate or CRL that has expired, or soon will, and for a renewal that has failed. */
void tls_context_problems(const struct tls_context *context, struct strings *sentences);
/* Logs them, once a day. */
void tls_context_remind(struct tls_context *context, const char *instance);
/* What else its files were warned of. */
const struct strings *tls_context_warnings(const struct tls_context *context);

#endif
