/* A command that has a user sends AUTH before anything else, both in lines and in RESP. */
#include "echoctl/credentials.h"

#include <stdlib.h>
#include <string.h>

#include "echoctl/echoctl.h"
#include "echoctl/kv_peer.h"

/* An option, or else a variable of the environment that is not empty; NULL = neither. */
static const char *find(const char *option, const char *variable)
{
	const char *value = option == NULL ? getenv(variable) : option;

	return value == NULL || (option == NULL && *value == '\0') ? NULL : value;
}

int credentials_find(const struct options *options, struct credentials *credentials)
{
	const char *user = find(options->user, "ECHOD_USER");
	const char *file = find(options->password_file, "ECHOD_PASSWORD_FILE");

	credentials->user = user;
	if (user == NULL && file == NULL)
		return STATUS_OK;
	if (user == NULL)
		complain("a password file, but no user; use --user NAME or ECHOD_USER, too");
	else if (file == NULL)
		complain("the user %s, but no password; use --password-file FILE or "
			 "ECHOD_PASSWORD_FILE, too",
		    user);
	else
		return password_load(file, &credentials->password) == 0 ? STATUS_OK : STATUS_NO;
	return STATUS_USAGE;
}

int credentials_send(struct kv_peer *peer, const struct credentials *credentials)
{
	struct slice words[3] = { slice_of("AUTH") };
	struct kv_reply reply;
	int result;

	if (credentials->user == NULL)
		return STATUS_OK;
	words[1] = slice_of(credentials->user);
	words[2] = slice_of(credentials->password.text);
	if (!kv_peer_takes_word(peer, words[1]) || !kv_peer_takes_line(peer, words[2])) {
		complain(
		    "the name or the password of the user begins or ends with white space, or contains "
		    "what cannot be part of a line; use a redis:// address");
		return STATUS_NO;
	}
	result = kv_peer_call(peer, words, 3, &reply);
	explicit_bzero(peer->queue, sizeof(peer->queue));
	if (result == 0 && reply.kind != KV_REPLY_DONE)
		result = kv_peer_reject(peer, &reply);
	return result == 0 ? STATUS_OK : STATUS_NO;
}
