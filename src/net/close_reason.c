/* The names of the reasons, and which of them are errors. */
#include "net/close_reason.h"

static const char *const reason_names[CLOSE_REASONS] = {
	[CLOSE_CLIENT_EOF] = "client_eof",
	[CLOSE_QUIT] = "quit",
	[CLOSE_IDLE] = "idle",
	[CLOSE_RESET] = "reset",
	[CLOSE_LIMIT] = "limit",
	[CLOSE_DENIED] = "denied",
	[CLOSE_SLOW_READER] = "slow_reader",
	[CLOSE_PROTOCOL] = "protocol",
	[CLOSE_SHUTDOWN] = "shutdown",
	[CLOSE_RELOAD] = "reload",
	[CLOSE_TLS] = "tls",
	[CLOSE_AUTH] = "auth",
};

const char *close_reason_name(enum close_reason reason)
{
	return reason_names[reason];
}

const char *tls_cause_name(enum tls_cause cause)
{
	static const char *const names[TLS_CAUSES] = {
		[TLS_FINE] = "none",
		[TLS_PLAIN_TEXT] = "plain_text",
		[TLS_HANDSHAKE] = "handshake",
		[TLS_CERTIFICATE] = "certificate",
		[TLS_ALERT] = "alert",
		[TLS_RECORD] = "record",
		[TLS_KEY_UPDATES] = "key_updates",
		[TLS_TRUNCATED] = "truncated",
		[TLS_TIMEOUT] = "timeout",
		[TLS_CROWDED] = "crowded",
		[TLS_MEMORY] = "memory",
	};

	return names[cause];
}

bool close_reason_is_bad(enum close_reason reason)
{
	return reason == CLOSE_LIMIT || reason == CLOSE_DENIED || reason == CLOSE_SLOW_READER ||
	       reason == CLOSE_PROTOCOL || reason == CLOSE_TLS || reason == CLOSE_AUTH;
}
