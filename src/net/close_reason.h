/* Why a stream has ended, and the limit behind it: for log lines, counters and the control tool. */
#ifndef ECHOD_NET_CLOSE_REASON_H
#define ECHOD_NET_CLOSE_REASON_H

#include <stdbool.h>

/* Every stream ends with exactly one of these. */
enum close_reason {
	CLOSE_CLIENT_EOF,
	CLOSE_QUIT, /* the service was done with the client */
	CLOSE_IDLE,
	CLOSE_RESET,
	CLOSE_LIMIT,
	CLOSE_DENIED,
	CLOSE_SLOW_READER,
	CLOSE_PROTOCOL,
	CLOSE_SHUTDOWN,
	CLOSE_RELOAD,
	CLOSE_REASONS
};

/* The limit behind a CLOSE_LIMIT. */
enum limit {
	LIMIT_NONE,
	LIMIT_CLIENTS,     /* max_connections of the service */
	LIMIT_ALL_CLIENTS, /* limits.max_connections */
	LIMIT_PROGRAMS,    /* max_children */
	LIMIT_SOURCE,      /* max_per_source */
	LIMIT_RATE,        /* connect_rate */
	LIMIT_MEMORY,
	LIMIT_FILES, /* of open files, of the process */
	LIMITS
};

/* "client_eof", for log lines and counters. */
const char *close_reason_name(enum close_reason reason);
/* Whether it is an error that is logged at level info, not the way of things. */
bool close_reason_is_bad(enum close_reason reason);

#endif
