/*
 * A request for a command about the connection or the server: its words, and the replies that several commands have.
 */
#ifndef ECHOD_SERVICES_RESP_REQUEST_H
#define ECHOD_SERVICES_RESP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#include "core/slice.h"
#include "kv/command.h"
#include "net/handlers.h"

struct instance;
struct kv;
struct message;
struct replies;
struct resp_client;
struct stream;

#define REDIS_VERSION "7.2.4" /* clients choose the commands that they send by it */

struct resp_request {
	struct stream *stream;
	struct instance *instance;
	struct kv *kv;
	struct resp_client *client;
	struct replies *replies;
	int version; /* of RESP */
	const struct command *command;
	struct slice within; /* the name of the command within it, as it has come */
	/* The words behind the command's name, taken by resp_next_word(): */
	const char *at;
	size_t words;
};

/* The next word; empty at the end. */
struct slice resp_next_word(struct resp_request *request);

/* Reply OK, or an error, and continue. */
enum verdict resp_ok(struct resp_request *request);
enum verdict resp_fail(struct resp_request *request, const char *text);
enum verdict resp_fail_status(struct resp_request *request, enum kv_status status);
enum verdict resp_fail_syntax(struct resp_request *request);
enum verdict resp_fail_number(struct resp_request *request);
/* Whether the client may do what only administrators may, and the error if not, as of a command within a command. */
bool resp_may_administer(const struct resp_request *request);
enum verdict resp_fail_right(struct resp_request *request);
/* Adds a key and its value. */
void resp_pair(struct replies *replies, const char *key, const char *value);

/* A command within a command; the last row has no name. HELP shows the rows. */
struct resp_within {
	struct subcommand text;
	size_t least, most; /* words behind it */
	enum verdict (*run)(struct resp_request *request);
};

/* Runs the command within it that the next word names. */
enum verdict resp_run_within(struct resp_request *request);

/*
 * Whether the request is refused for what can be seen without running it, as Redis does: a command, or one within it,
 * that is not there, or a number of words that its row cannot have. The other errors are those of its run.
 */
bool resp_is_malformed(const struct call *call, const struct message *message);
/* Whether a request for the command may have so many words, its name among them. */
bool resp_count_fits(const struct command *command, size_t words);

/* A text that is gathered; zeroed = empty. */
struct text {
	char *bytes;
	size_t length, size;
	bool failed; /* out of memory, or too long */
};

__attribute__((format(printf, 2, 3))) void text_add(struct text *text, const char *format, ...);
/* Replies it, frees it and continues. */
enum verdict text_reply(struct resp_request *request, struct text *text);

/* --- resp_client.c, resp_info.c, resp_scripts.c --- */

enum verdict resp_run_ping(struct resp_request *request);
enum verdict resp_run_quit(struct resp_request *request);
enum verdict resp_run_reset(struct resp_request *request);
enum verdict resp_run_select(struct resp_request *request);
enum verdict resp_run_auth(struct resp_request *request);
enum verdict resp_run_hello(struct resp_request *request);
extern const struct resp_within resp_client_rows[];
enum verdict resp_run_info(struct resp_request *request);

extern const struct resp_within resp_script_rows[];

/* --- resp_transaction.c --- */

enum verdict resp_run_multi(struct resp_request *request);
enum verdict resp_run_exec(struct resp_request *request);
enum verdict resp_run_discard(struct resp_request *request);
enum verdict resp_run_watch(struct resp_request *request);
enum verdict resp_run_unwatch(struct resp_request *request);

/* --- resp_pubsub.c --- */

enum verdict resp_run_subscribe(struct resp_request *request);
enum verdict resp_run_psubscribe(struct resp_request *request);
enum verdict resp_run_unsubscribe(struct resp_request *request);
enum verdict resp_run_punsubscribe(struct resp_request *request);
enum verdict resp_run_publish(struct resp_request *request);
extern const struct resp_within resp_pubsub_rows[];

/* What Redis calls maxmemory-policy. */
const char *resp_memory_policy(const struct kv *kv);

#endif
