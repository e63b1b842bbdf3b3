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
};

const char *close_reason_name(enum close_reason reason)
{
	return reason_names[reason];
}

bool close_reason_is_bad(enum close_reason reason)
{
	return reason == CLOSE_LIMIT || reason == CLOSE_DENIED || reason == CLOSE_SLOW_READER ||
	       reason == CLOSE_PROTOCOL;
}
