/*
 * Framing: bytes of a stream into lines, in place in the buffer they were read into. Bounds the length of
 * a line and the lines of a turn; takes telnet's commands out.
 */
#ifndef ECHOD_NET_LINES_H
#define ECHOD_NET_LINES_H

#include <stdbool.h>
#include <stddef.h>

#include "net/instance.h"

struct telnet;

/* A stream's framing; zeroed = nothing has come yet. */
struct lines {
	size_t scanned;             /* bytes of the input that hold no LF and no telnet command */
	struct telnet *telnet;      /* from the first command on */
	bool skipping;              /* behind a line that was too long */
	bool spoken;                /* the first line has ended */
	enum foreign_begin skipped; /* how the line that is being skipped began */
};

/* How a turn went. */
struct lines_turn {
	bool complete;  /* at least one line ended */
	bool half_line; /* the beginning of a line is waiting for its end */
	bool held;      /* what is answered is not to be sent yet */
	bool more;      /* the turn was over, or the output full, before the input was used up */
};

/*
 * Hands the complete lines of `in` to the handler, at most a turn's worth, and takes them out of `in`. Stops
 * at the first verdict but CONTINUE and HOLD, and returns it; HOLD is noted in the turn.
 */
enum verdict lines_serve(struct lines *lines, struct stream *stream,
    const struct handlers *handlers, const struct line_settings *settings, bool telnet,
    struct evbuffer *in, struct evbuffer *out, struct lines_turn *turn);

/* At the client's EOF: hands the line without an end to the tail handler, if there are both. */
enum verdict lines_finish(struct lines *lines, struct stream *stream,
    const struct handlers *handlers, bool telnet, struct evbuffer *in, struct evbuffer *out);

void lines_clear(struct lines *lines);

#endif
