/*
 * The scripts that an instance has loaded, for EVALSHA: the digests of texts, as clients send them, and what they stand
 * for. It is embedded in its instance; the oldest of too many digests is forgotten, and its client sends the text again.
 */
#ifndef ECHOD_SERVICES_RESP_SCRIPTS_H
#define ECHOD_SERVICES_RESP_SCRIPTS_H

#include <sha1.h>
#include <stddef.h>

#define SCRIPTS_LOADED 256

struct call;
struct kv;
struct script;

struct resp_scripts {
	size_t count, next; /* `next` is overwritten next */
	struct loaded_script {
		const struct script *script;
		char digest[SHA1_DIGEST_STRING_LENGTH];
	} loaded[SCRIPTS_LOADED];
};

/* Loads the known scripts whose digests as their libraries send them are known. */
void resp_scripts_begin(struct resp_scripts *scripts);

/*
 * Makes the call that a call of EVAL or EVALSHA stands for, which is not prepared yet. If there is none, its status is
 * KV_INVALID and its first argument the error.
 */
void resp_scripts_call(struct kv *kv, const struct call *eval, struct call *call);

#endif
