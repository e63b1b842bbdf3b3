/*
 * A request to the control service, and the commands that answer one. An answer is made as JSON; its text
 * for people is made from that, so both say the same.
 */
#ifndef ECHOD_CONTROL_REQUEST_H
#define ECHOD_CONTROL_REQUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/strings.h"

struct command;
struct errand;
struct evbuffer;
struct server;
struct stream;

#define REQUEST_WORDS 8
#define REQUEST_OPTIONS 4

struct request {
	struct server *server;
	struct stream *client; /* who asks; valid only while command->answer runs */
	const struct command *command;
	bool json;
	char *line;                       /* the words lie in it */
	const char *words[REQUEST_WORDS]; /* behind the command, without its options */
	size_t word_count;
	/* The values of command->options, in that order; NULL = not given, "" = given without one. */
	const char *options[REQUEST_OPTIONS];
	char error[512];
	struct strings details; /* of the error, a line each */
	void *state;            /* of a command that does not answer at once; its `end` frees it */
	struct errand *work;    /* calls `answer` again, for a command that waits */
	bool waits;             /* `answer` returned NULL because it waits, and is called again */
};

/* "--service NAME" */
struct request_option {
	const char *name;  /* with its hyphens */
	const char *value; /* what it takes, for people; NULL = nothing */
};

/* An answer that is too long for one piece: rows of a JSON array, and their text. */
struct request_list {
	const char *name; /* the array's */
	/* 0, or -1 after request_refuse(). */
	int (*begin)(struct request *request);
	/* Adds some rows, a bounded number; false when these were the last. */
	bool (*more)(struct request *request, json_t *rows);
	void (*show_head)(const struct request *request, struct evbuffer *out);
	void (*show_row)(const json_t *row, struct evbuffer *out);
};

struct command {
	const char *name;
	const char *arguments; /* for people */
	const char *help;
	size_t least, most; /* words */
	struct request_option options[REQUEST_OPTIONS];
	/* The answer, an object; NULL after request_refuse(), when out of memory, or with request->waits. */
	json_t *(*answer)(struct request *request);
	void (*show)(json_t *answer, struct evbuffer *out); /* NULL = there is nothing to show */
	const struct request_list *list;                    /* instead of both */
	void (*end)(struct request *request);               /* called only if there is a state */
};

/* Says no: the text of the line "ERROR: ...", one line. Returns NULL, for `answer`. */
void *request_refuse(struct request *request, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* No, because the request itself is wrong; the reason may be NULL. */
void *request_misuse(struct request *request, const char *reason);

/* To the log: what was asked for, and by whom. */
void request_log(const struct request *request, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* The lines of `status` to the log, at level info. */
void status_log(const struct server *server);

extern const struct command command_status, command_listeners, command_clients, command_kill,
    command_reload, command_reopen, command_log, command_stats, command_why;

#endif
