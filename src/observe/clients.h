/*
 * Clients as rows of JSON: those that are here, some at a time, so that a list of any length costs no other client more
 * than a moment; or those that left last.
 */
#ifndef ECHOD_OBSERVE_CLIENTS_H
#define ECHOD_OBSERVE_CLIENTS_H

#include <jansson.h>
#include <stdint.h>

#include "net/access.h"
#include "net/client.h"
#include "net/stream.h"

struct server;

/* Which of them, and how far the list is. */
struct clients_query {
	const char *service;   /* NULL = of any */
	struct network source; /* without a text: from anywhere */
	int64_t idle_over;     /* ms; -1 = however busy */
	struct client_iterator walk;
};

/* Starts with the first client. clients_end() is due afterwards; it clears `source`, too. */
void clients_begin(struct clients_query *query, const struct server *server);
void clients_end(struct clients_query *query);

/* Adds some rows, a bounded number. 1 = more follow, 0 = these were the last, -1 = out of memory. */
int clients_add_some(struct clients_query *query, json_t *rows);

/* Adds the clients that left last, the latest first. 0, or -1 when out of memory. */
int clients_add_departed(
    const struct clients_query *query, const struct server *server, json_t *rows);

#endif
