/*
 * The subscriptions of an instance: which clients in RESP have subscribed to which channels and patterns. It exists from
 * the first subscription on, until the instance is stopped.
 */
#ifndef ECHOD_SERVICES_RESP_PUBSUB_H
#define ECHOD_SERVICES_RESP_PUBSUB_H

#include <stdbool.h>
#include <stddef.h>

struct kv;
struct pubsub;
struct resp_client;
struct resp_request;

/* All clients have left. NULL is fine. */
void resp_pubsub_free(struct pubsub *pubsub);

/* What channels or patterns there are, and to how many of both a client has subscribed. */
struct pubsub_counts {
	size_t channels, patterns;
};

struct pubsub_counts resp_pubsub_counts(const struct pubsub *pubsub); /* NULL is fine */
struct pubsub_counts resp_client_counts(const struct resp_client *client);
bool resp_is_subscribed(const struct resp_client *client);

/* Goes on with a command whose confirmations are too many for one turn: client->continues. */
void resp_pubsub_continue(struct resp_request *request);

/* Ends the client's subscriptions, without a confirmation. */
void resp_pubsub_unsubscribe(struct kv *kv, struct resp_client *client);
/* The client has left. */
void resp_pubsub_leave(struct kv *kv, struct resp_client *client);

#endif
