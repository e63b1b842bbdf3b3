/*
 * A client of the kv service that speaks RESP, as kv_resp.c (its requests), resp_client.c (the commands about the
 * connection) and resp_commands.c (those about the server) share it.
 */
#ifndef ECHOD_SERVICES_KV_RESP_H
#define ECHOD_SERVICES_KV_RESP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kv/command.h"
#include "net/handlers.h"
#include "services/kv.h"

struct mailbox;
struct message;
struct replies;
struct resp_request;
struct resp_within;
struct stream;
struct transaction;

/* What CLIENT SETNAME and SETINFO set. */
struct resp_names {
	char *name, *library, *version; /* NULL = not set */
};

/* What the service keeps for a client; zeroed at the start. */
struct resp_client {
	struct kv_client shared;         /* with the other protocol */
	struct resp_names *names;        /* NULL = none is set */
	struct transaction *transaction; /* NULL = it has queued nothing and watches no key */
	struct mailbox *mailbox;         /* NULL = it has never subscribed */
	struct replies *
	    replies; /* during its turn: where its messages go; the current reply may go elsewhere */
	const struct command *command;   /* the last one, NULL = it was none */
	const struct subcommand *within; /* the last one of a command that has some */
	bool is_resp3 : 1;
	bool queues : 1;    /* its requests, from MULTI to EXEC */
	bool executes : 1;  /* they run now, and their replies are gathered */
	bool continues : 1; /* a command about its subscriptions, see resp_pubsub.h */
	bool yields : 1;    /* its next request runs after the turns of the other clients */
	/* CLIENT REPLY: */
	bool silent : 1;     /* OFF */
	bool skips_next : 1; /* SKIP: the reply to the next command */
	bool is_dropped : 1; /* the reply to the current one */
	bool leaves : 1;     /* CLIENT KILL: it ends once its replies are sent */
	bool drops_rest : 1; /* the replies of a listing, or of what `continues` */
};

/* A command that needs no key: its row has COMMAND_LOCAL, and is the beginning. */
struct resp_command {
	struct command row;
	enum verdict (*run)(struct resp_request *request);
	const struct resp_within *within; /* of COMMAND_PARENT: its rows, NULL = all is an error */
};

/*
 * Runs a request of a transaction, and adds its reply, which rests on *commit: a commit that comes later than that
 * replaces it.
 */
enum verdict kv_resp_run(struct stream *stream, const struct message *message,
    struct replies *replies, uint64_t *commit);

/* Adds their rows to those that clients of RESP have. */
void resp_commands_add(struct command_index *index);

void resp_names_free(struct resp_names *names);

#endif
