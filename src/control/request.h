/*
 * A request to the control service, and the commands that answer one. An answer is made as JSON; its text
 * for people is made from that, so both say the same.
 */
#ifndef ECHOD_CONTROL_REQUEST_H
#define ECHOD_CONTROL_REQUEST_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/error.h"
#include "core/strings.h"

struct command;
struct command_row;
struct evbuffer;
struct host;
struct server;
struct stream;
struct task;

#define REQUEST_WORDS 8
#define REQUEST_OPTIONS 8

struct request {
	struct server *server;
	struct stream *client; /* the administrator's; valid only while command->answer runs */
	const struct command_row *row;
	const struct command *command;
	bool json;
	char *line;                       /* the words and options lie in it */
	const char *words[REQUEST_WORDS]; /* behind the command, without its options */
	size_t word_count;
	struct request_option {
		const char *name, *value; /* "--service"; "" = it takes none */
	} options[REQUEST_OPTIONS];
	size_t option_count;
	struct error error;     /* text "" = none */
	struct strings details; /* of the error, a line each */
	void *state;            /* of a command that does not answer at once; its `end` frees it */
	struct task *work;      /* calls `answer` again, for a command that waits */
	bool waits;             /* `answer` returned NULL because it waits, and is called again */
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

/* What answers the command of a row in commands.def. */
struct command {
	/* The answer, an object, if it needs nothing of the request; NULL when out of memory. */
	json_t *(*gather)(const struct server *server);
	/* Instead of that: the answer, an object; NULL after request_refuse(), when out of memory, or with request->waits. */
	json_t *(*answer)(struct request *request);
	void (*show)(json_t *answer, struct evbuffer *out);
	const struct request_list *list;      /* instead of all three */
	void (*end)(struct request *request); /* called only if there is a state */
};

/* The value of an option that the row has; NULL = it is not given, "" = it takes no value. */
const char *request_option(const struct request *request, const char *name);

/* Refuses the request; the text, one line, follows "ERROR: ". Returns NULL, for `answer`. */
void *request_refuse(struct request *request, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same with the usage of the command, and the reason as a detail. */
void *request_misuse(struct request *request, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* The same without a reason. */
void *request_usage(struct request *request);

/* Logs what was asked for, and by whom. */
void request_log(const struct request *request, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/* Logs the lines of `status`, at level info. */
void status_dump(const struct host *host);

#define CONTROL(name, ...) extern const struct command command_##name;
#define LOCAL(...)
#include "control/commands.def"
#undef CONTROL
#undef LOCAL

#endif
