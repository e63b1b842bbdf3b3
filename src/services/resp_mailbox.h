/*
 * A mailbox: what is kept for a client that has subscribed, and the messages on their way to it. A publish writes to no
 * socket and ends no client, because it runs in the turn of another client, or in the check of its deadlines: messages
 * are collected, and sent at the end of the loop's turn, or with the replies of the subscriber's own turn if that comes
 * first. So they keep their place among its replies.
 */
#ifndef ECHOD_SERVICES_RESP_MAILBOX_H
#define ECHOD_SERVICES_RESP_MAILBOX_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#include "net/handlers.h"
#include "services/topics.h"

struct buffer;
struct loop;
struct replies;
struct resp_request;
struct stream;
struct task;

/* One of the four commands that subscribe and unsubscribe. */
struct action {
	const char *name;
	enum topic_kind kind;
	enum verdict (*run)(struct resp_request *request, const struct action *action);
};

TAILQ_HEAD(mailboxes, mailbox);

/* The mailboxes of an instance for which something is to be done at the end of the turn. */
struct deliveries {
	struct mailboxes due;
	struct task *task;
};

/* From the first subscription on until the client leaves. */
struct mailbox {
	struct subscriber subscriber;
	struct stream *stream;
	struct evbuffer *pending;   /* messages */
	TAILQ_ENTRY(mailbox) entry; /* in due->due */
	struct deliveries *due;     /* NULL = nothing is to be done */
	/* It has missed a message, because it does not read or for lack of memory, and is to end: */
	bool is_slow, is_lost;
	/* While the client's `continues` is set: the command, and what is left of its words. */
	const struct action *action;
	char *rest; /* NULL = nothing is left */
	const char *at;
	size_t words;
};

/* 0, or -1 with errno. */
int deliveries_init(struct deliveries *deliveries, struct loop *loop);
/* Nothing is due any more. */
void deliveries_clear(struct deliveries *deliveries);

/* NULL when out of memory. */
struct mailbox *mailbox_new(struct stream *stream);
/* It has no subscriptions. */
void mailbox_free(struct mailbox *mailbox);

/*
 * Adds a message, whose first byte is set to that of the client's version of RESP; whether the client gets it. One that
 * publishes to itself gets it before its reply.
 */
bool mailbox_add(
    struct mailbox *mailbox, struct deliveries *deliveries, const struct buffer *message);
/* Bytes of messages that are not sent yet. */
size_t mailbox_pending(const struct mailbox *mailbox);
/* Moves the messages behind the replies. */
void mailbox_empty(struct mailbox *mailbox, struct replies *replies);

#endif
