/*
 * Framing: cuts the input of a stream into messages, in place. net/turn.c asks a framing for the next message, and
 * hands what it has found to the service; a framing calls neither of them.
 */
#ifndef ECHOD_NET_FRAMING_H
#define ECHOD_NET_FRAMING_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/socket.h>

#include "net/sniff.h"

struct line_settings;
struct replies;

#define RUN_MAX 32 /* messages */

/* A line without its LF (a CR before it is still there). The bytes may be changed in place. */
struct message {
	char *bytes;
	size_t length;
};

/* Messages that have arrived together; the bytes stay where they are until the service returns. */
struct run {
	struct message *messages;
	size_t count;
	size_t
	    consumed; /* by the service: at least one, and all unless a verdict or the output ends the turn */
	bool is_tail; /* the one message has no end: the client has sent EOF behind it */
	/*
	 * Set by the service: the reply to the last message that it consumed has more parts. The service gets an empty
	 * run after the turns of the other clients, and no other message, until it leaves this false.
	 */
	bool unfinished;
	struct replies *replies;
};

/* The next message, which counts as consumed; NULL at the end of the run, and while the output is too long. */
struct message *run_next(struct run *run);

enum frame {
	FRAME_MESSAGE, /* *message is whole */
	FRAME_PARTIAL, /* no whole message is left in this piece of the input */
	FRAME_BARRIER, /* something else was consumed, or the run has to be served first: ask again */
	FRAME_FOREIGN, /* another protocol, which has been answered: close */
	FRAME_NO_MEMORY,
};

/* The network's answers to input that the service never sees. NULL = none. */
struct refusals {
	const char *over_limit; /* to a client that a limit keeps out */
	const char *long_line;  /* about a line over max_line */
	/* To a client of another protocol: SNIFFED_TEXTS(); without these, none is recognised. */
	const char *sniffed[PROTOCOLS];
};

/* What a framing works on during one turn of a stream. */
struct frame_input {
	char *at, *end;   /* unread bytes that lie in one piece */
	const char *next; /* the piece behind it */
	size_t next_length;
	/*
	 * With FRAME_PARTIAL: how many bytes behind `end` the framing needs next, in one piece with these. They may not
	 * have arrived yet.
	 */
	size_t needed;
	size_t unserved; /* messages that this run has already */
	bool ended;      /* set when a message, or one that is skipped, has ended */
	const struct line_settings *settings;
	size_t max_word;                 /* see struct instance */
	bool is_stranger;                /* see stream_set_stranger() */
	const struct refusals *refusals; /* NULL = no answers */
	struct replies *replies;
};

struct framing {
	size_t state_size; /* per stream, bytes; zeroed at the start */
	/* The stream is new. */
	void (*open)(void *state, const struct line_settings *settings, sa_family_t family);
	enum frame (*next)(void *state, struct frame_input *input, struct message *message);
	/* For HANDLERS_TAIL, at the client's EOF, with all that is left in one piece: the message without an end, or FRAME_PARTIAL: none. */
	enum frame (*last)(void *state, struct frame_input *input, struct message *message);
	/* Whether it keeps a part of a message that is no longer in the input. */
	bool (*is_within)(const void *state);
	void (*close)(void *state);
};

#endif
