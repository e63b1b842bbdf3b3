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
	CLOSE_TLS,
	CLOSE_AUTH, /* too many wrong passwords */
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

/* What is behind a CLOSE_TLS. */
enum tls_cause {
	TLS_FINE,
	TLS_PLAIN_TEXT,  /* the client does not speak TLS: a CLOSE_PROTOCOL */
	TLS_HANDSHAKE,   /* no version or cipher in common, or not a handshake */
	TLS_CERTIFICATE, /* the client's is missing or not valid */
	TLS_ALERT,  /* the client has ended it, mostly because it does not trust our certificate */
	TLS_RECORD, /* damaged, or not allowed after the handshake */
	TLS_KEY_UPDATES, /* too many */
	TLS_TRUNCATED, /* the connection has ended in the middle of what the service wants whole */
	TLS_TIMEOUT,   /* of the handshake */
	TLS_CROWDED,   /* of the handshake, while there were too many others */
	TLS_MEMORY,
	TLS_CAUSES
};

/* "client_eof", for log lines and counters. */
const char *close_reason_name(enum close_reason reason);
/* "key_updates", for the same. */
const char *tls_cause_name(enum tls_cause cause);
/* Whether it is an error that is logged at level info, not the way of things. */
bool close_reason_is_bad(enum close_reason reason);

#endif
