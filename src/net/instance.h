/*
 * An instance of a service as the network sees it: its name, settings and handlers, who is connected, and
 * what was counted. The server makes it from a group of the config; its config part is exchanged by a
 * reload, everything else stays.
 */
#ifndef ECHOD_NET_INSTANCE_H
#define ECHOD_NET_INSTANCE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "core/config.h"
#include "core/log.h"
#include "net/access.h"
#include "net/address.h"
#include "net/foreign.h"
#include "net/guard.h"
#include "net/source.h"

struct evbuffer;
struct instance;
struct listener;
struct loop;
struct rate_charges;
struct rates;
struct stream;

/* Keys that every service has. */
struct instance_settings {
	bool enabled;
	char *type;
	struct addresses listen;
	struct networks allow, deny;
	int64_t backlog;
	bool ipv6_only;
	mode_t socket_mode;
	int64_t max_connections;
	int on_limit; /* enum on_limit */
	int64_t max_per_source;
	struct prefixes source_prefix;
	int64_t connect_rate; /* a second, 0 = no limit */
	int64_t idle_timeout; /* ms, 0 = never */
	int64_t keepalive;    /* ms, 0 = off */
};

enum on_limit { ON_LIMIT_REJECT, ON_LIMIT_QUEUE };

/* Keys of services that talk in lines. */
struct line_settings {
	int64_t max_line;     /* bytes, without the line's end */
	int64_t line_timeout; /* ms, 0 = never */
	bool telnet;          /* on TCP */
};

/* Keys of services that answer datagrams. */
struct datagram_settings {
	int reply_ports; /* enum reply_ports */
	int64_t reply_rate;
	struct prefixes reply_prefix;
};

enum reply_ports { REPLY_PORTS_UNPRIVILEGED, REPLY_PORTS_ANY };

extern const struct option_row instance_rows[], line_rows[], datagram_rows[];

/* Where a kind of service keeps each of them among its config parts. */
enum instance_part { PART_INSTANCE, PART_LINES, PART_DATAGRAMS, PART_OWN };

/* What a handler says is to become of the stream; it never ends one itself. */
enum verdict {
	VERDICT_CONTINUE,
	VERDICT_CLOSE,    /* send what is buffered, then close lingeringly */
	VERDICT_PROTOCOL, /* the same, because the client talks something else */
	VERDICT_ABORT,    /* reset at once */
	VERDICT_HOLD,     /* keep the replies back until stream_release() */
};

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

/* "max_per_source", for counters. */
const char *limit_name(enum limit limit);

/* "client_eof", for log lines and counters. */
const char *close_reason_name(enum close_reason reason);
/* Whether it is an error that is logged at level info, not the way of things. */
bool close_reason_is_bad(enum close_reason reason);

/* One datagram as a service sees it. */
struct datagram {
	const char *bytes;
	size_t length;
	const struct sockaddr *peer;
	socklen_t peer_length;
};

/* A line without its LF; the bytes may be changed in place. A CR before the LF is still there. */
struct line {
	char *bytes;
	size_t length;
};

#define LINES_PER_RUN 32

/* Lines that have come together. */
struct lines_run {
	const struct line *lines;
	size_t count;
	/* What the service has done with them: */
	size_t taken;
	bool held; /* some answer is to be held, see VERDICT_HOLD */
};

/* What a service does with what comes; each may be NULL. */
struct handlers {
	size_t conn_size; /* of its state per stream, bytes */
	enum verdict (*open)(struct stream *stream, struct evbuffer *out);
	/*
	 * Raw bytes: takes what it wants out of `in`; past 128 KiB left lying the client is not read.
	 * Without it (and without line) they are dropped.
	 */
	enum verdict (*data)(struct stream *stream, struct evbuffer *in, struct evbuffer *out);
	/* One line, see struct line. */
	enum verdict (*line)(
	    struct stream *stream, struct evbuffer *out, char *line, size_t length);
	/*
	 * Instead of it, for a service that is faster with many at once. Takes at least one, and all unless
	 * a verdict ends the stream or the output is past STREAM_OUTPUT_HIGH.
	 */
	enum verdict (*lines)(struct stream *stream, struct evbuffer *out, struct lines_run *run);
	/* The bytes after the last LF, at the client's EOF; only with line. */
	enum verdict (*tail)(
	    struct stream *stream, struct evbuffer *out, char *line, size_t length);
	/* The client has closed its side and all input is taken; CONTINUE = we have more to say yet. */
	enum verdict (*eof)(struct stream *stream, struct evbuffer *out);
	bool finishes; /* eof is asked at a drain, too: what was begun is finished */
	/* At the start and whenever the output is short: may add to it, and is called again if it did. */
	enum verdict (*room)(struct stream *stream, struct evbuffer *out);
	void (*close)(struct stream *stream);
	/* Whether the service is working for the client, which is not idle then. */
	bool (*busy)(struct stream *stream);
	/* Whether one more client would exceed max_children. */
	bool (*full)(const struct instance *instance);
	bool administers;      /* its clients come in over limits.max_connections, unremembered */
	bool sends_files;      /* its output may hold parts of files */
	const char *long_line; /* the answer to a line over max_line */
	const char *refusal;   /* what a client over the limit is told */
	/* What a client of another protocol is told instead of being served lines; see FOREIGN_TEXTS. */
	const char *foreign[FOREIGN_PROTOCOLS];
	/* Fills the reply and returns its length; -1 = no answer. */
	ssize_t (*datagram)(
	    struct instance *instance, const struct datagram *request, char *reply, size_t size);
	bool receives; /* broadcast and multicast, and answers nothing */
};

/* Whether its streams are cut into lines. */
static inline bool handlers_frame(const struct handlers *handlers)
{
	return handlers->line != NULL || handlers->lines != NULL;
}

struct counters {
	uint64_t accepted;
	uint64_t closed[CLOSE_REASONS];
	uint64_t refused[LIMITS]; /* also counted in closed[CLOSE_LIMIT] */
	uint64_t bytes_in, bytes_out;
	uint64_t datagrams_in, datagrams_out;
	uint64_t drops[DROP_REASONS];
};

LIST_HEAD(child_list, child);
TAILQ_HEAD(stream_list, stream);
TAILQ_HEAD(listener_list, listener);

struct instance {
	TAILQ_ENTRY(instance) entry; /* in loop->instances */
	struct loop *loop;
	char *name;
	const struct handlers *handlers;
	/* From the config that is in force: */
	struct instance_config *config;
	const struct instance_settings *settings;
	const struct line_settings *lines;         /* NULL for a service without lines */
	const struct datagram_settings *datagrams; /* NULL for one that answers none */
	int64_t max_per_source;
	const void *conf; /* the service's own settings */
	void *state;      /* the service's own, from its start() to its stop() */
	struct listener_list listeners;
	struct stream_list streams;
	size_t stream_count;        /* without those that are only being refused */
	struct child_list children; /* programs for clients, and what has been left of them */
	size_t child_count;         /* those that run */
	uint64_t failed_programs;   /* could not be started, or failed */
	struct sources sources;
	struct guard *guard; /* NULL before the first datagram listener */
	struct rates *rates; /* of connections; NULL before the first stream listener */
	struct counters counters;
	struct log_class closed_lines, drop_lines, service_lines; /* what a client can provoke */
};

/* An instance without a socket; the caller starts its service and opens its listeners. NULL: errno. */
struct instance *instance_new(struct loop *loop, const char *name);
/* Frees it; its streams, children and listeners must be gone. */
void instance_free(struct instance *instance);

/* Takes settings and limits from a config, which must live as long as they are in force. */
void instance_configure(struct instance *instance, struct instance_config *config,
    const struct handlers *handlers, const struct limit_settings *limits);

/* The keepalive in whole seconds, as the kernel takes it; rounded up. */
int instance_keepalive(const struct instance_settings *settings);

/* The limit of the instance or the loop that one more client would exceed; LIMIT_NONE = there is room. */
enum limit instance_limit(const struct instance *instance);
/* Writes the configuration key of the limit, such as "limits.max_per_source", into the buffer, and returns it. */
const char *instance_limit_key(
    const struct instance *instance, enum limit limit, char *buffer, size_t size);

/* What a new client is charged for connect_rate; charges->count is 0 if it is exempt. */
void instance_charges(
    const struct instance *instance, const struct sockaddr *peer, struct rate_charges *charges);

#endif
