/*
 * The transaction of a client in RESP: the requests that it has queued behind MULTI, which EXEC runs together, and the
 * keys that it watches. It exists only while there is one of them.
 */
#ifndef ECHOD_SERVICES_RESP_TRANSACTION_H
#define ECHOD_SERVICES_RESP_TRANSACTION_H

#include <stddef.h>
#include <stdint.h>

struct kv;
struct message;
struct replies;
struct resp_client;

/* Queues a request, and replies so, or that it does not fit; then EXEC runs none of them. */
void resp_transaction_queue(
    struct resp_client *client, const struct message *message, struct replies *replies);
/* A request was refused: EXEC runs none of them. */
void resp_transaction_abort(struct resp_client *client);

/* How many requests are queued, and their bytes; -1 = none can be. */
int64_t resp_transaction_queued(const struct resp_client *client, size_t *bytes);

/* Ends the transaction, and watches nothing any more. */
void resp_transaction_free(struct kv *kv, struct resp_client *client);

#endif
