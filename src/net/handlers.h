/*
 * What a service does with what comes: its handlers, and the verdicts that they return. A handler never ends a
 * stream and frees nothing of the network.
 */
#ifndef ECHOD_NET_HANDLERS_H
#define ECHOD_NET_HANDLERS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/types.h>

#include "net/foreign.h"

struct evbuffer;
struct instance;
struct stream;

/* What a handler says is to become of the stream; it never ends one itself. */
enum verdict {
	VERDICT_CONTINUE,
	VERDICT_CLOSE,    /* send what is buffered, then close lingeringly */
	VERDICT_PROTOCOL, /* the same, because the client talks something else */
	VERDICT_ABORT,    /* reset at once */
	VERDICT_HOLD,     /* keep the replies back until stream_release() */
};

/* One datagram as a service sees it. */
struct datagram {
	const char *bytes;
	size_t length;
	const struct sockaddr *from;
	socklen_t from_length;
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

#endif
