/*
 * Replies in RESP. Version 3 has types that version 2 lacks; there, null is a bulk string without bytes, a map an array
 * of its keys and values, a set and a push an array.
 */
#ifndef ECHOD_SERVICES_RESP_WORDS_H
#define ECHOD_SERVICES_RESP_WORDS_H

#include <stdint.h>

#include "core/slice.h"
#include "kv/command.h"
#include "services/kv_wording.h"

struct message;

enum { RESP2 = 2, RESP3 = 3 };

/* --- the types --- */

/* The text is constant and has no line feed. */
void resp_status(struct replies *replies, const char *text);
/* The text begins with the code: "ERR syntax error". */
void resp_error(struct replies *replies, const char *text);
void resp_integer(struct replies *replies, int64_t number);
void resp_bulk(struct replies *replies, struct slice bytes);
void resp_text(struct replies *replies, const char *text); /* as a bulk */
void resp_null(struct replies *replies, int version);
void resp_null_array(struct replies *replies, int version);
/* The items follow; of a map, keys and values in turn. */
void resp_array(struct replies *replies, size_t items);
void resp_map(struct replies *replies, int version, size_t pairs);
void resp_set(struct replies *replies, int version, size_t items);
void resp_push(struct replies *replies, int version, size_t items);
/* A text for people. */
void resp_verbatim(struct replies *replies, int version, struct slice text);

/* --- replies to commands --- */

extern const struct wording resp2_words, resp3_words;

/* The reply that rests on a failed commit. */
extern const char resp_words_failure[];

/* Adds the reply to a request that is not run because of its status. */
void resp_refusal(struct replies *replies, const struct call *call, const struct message *request);

/* The reply to HELP: its head, for that many rows, each row, and its end. */
void resp_help_begin(struct replies *replies, const struct command *command, size_t rows);
void resp_help_row(struct replies *replies, const struct subcommand *row);
void resp_help_end(struct replies *replies);

/* With the name of the command. */
#define RESP_NO_RIGHT "NOPERM this user has no permissions to run the '%s' command"
/* Adds the error that a status is. */
void resp_status_error(struct replies *replies, enum kv_status status);
/* Adds an error with bytes of the client in it: "ERR unknown subcommand '%.*s'". */
__attribute__((format(printf, 2, 3))) void resp_errorf(
    struct replies *replies, const char *format, ...);
/* The name in small letters, with that of the command within it, if there is one: "object|encoding". */
#define RESP_NAME_MAX (2 * COMMAND_NAME_MAX + 2)
void resp_write_name(const struct command *command, struct slice within, char name[RESP_NAME_MAX]);
/* How many bytes of a word such an error shows: the precision of its %.*s. */
int resp_shown(struct slice word);

#endif
