/* A piece of the list visits a bounded number of clients. The iterator stays valid while clients leave in between. */
#include "observe/clients.h"

#include <stdbool.h>
#include <string.h>

#include "core/clock.h"
#include "net/admission.h"
#include "net/loop.h"
#include "net/stream.h"
#include "observe/json.h"
#include "server.h"

#define LOOKS_PER_PIECE 1024 /* at clients, listed or not */
#define ROWS_PER_PIECE 64    /* a tenth of a millisecond */

void clients_begin(struct clients_query *query, const struct server *server)
{
	client_iterator_begin(&query->walk, server->running.loop);
}

void clients_end(struct clients_query *query)
{
	client_iterator_end(&query->walk);
	network_clear(&query->source);
}

/* `until`: now, or when it left. */
static bool is_wanted(const struct clients_query *query, const struct client *client, int64_t until)
{
	if (query->service != NULL && strcmp(query->service, client->service) != 0)
		return false;
	if (query->source.text != NULL && !network_matches(&query->source, &client->peer))
		return false;
	return query->idle_over == -1 || until - client->active > query->idle_over;
}

static json_t *client_json(const struct client *client, int64_t until)
{
	return json_pack("{s:I, s:s, s:o, s:I, s:I, s:I, s:I, s:I, s:s?, s:s?, s:s?, s:o}", "id",
	    (json_int_t)client->id, "service", client->service, "peer", json_peer(&client->peer),
	    "age_ms", (json_int_t)(until - client->opened), "idle_ms",
	    (json_int_t)(until - client->active), "bytes_in", (json_int_t)client->bytes_in,
	    "bytes_out", (json_int_t)client->bytes_out, "unsent", (json_int_t)client->unsent, "tls",
	    client->tls_version, "tls_client",
	    *client->tls_client == '\0' ? NULL : client->tls_client, "user",
	    *client->user == '\0' ? NULL : client->user, "proxy",
	    client->proxy.family == 0 ? json_null() : json_peer(&client->proxy));
}

int clients_add_some(struct clients_query *query, json_t *rows)
{
	int64_t now = clock_ms();
	struct stream *stream;
	struct client client;

	for (int i = 0; i < LOOKS_PER_PIECE && json_array_size(rows) < ROWS_PER_PIECE; i++) {
		if ((stream = client_iterator_next(&query->walk)) == NULL)
			return 0;
		stream_describe(stream, &client);
		if (is_wanted(query, &client, now) &&
		    json_array_append_new(rows, client_json(&client, now)) == -1)
			return -1;
	}
	return 1;
}

int clients_add_departed(
    const struct clients_query *query, const struct server *server, json_t *rows)
{
	const struct recent_clients *left = &server->running.loop->recent_clients;
	struct recent_clients_iterator walk = { 0 };
	const struct client *client;
	int64_t now = clock_ms();
	json_t *row;

	while ((client = recent_clients_next(left, &walk)) != NULL) {
		if (!is_wanted(query, client, client->departed))
			continue;
		row = client_json(client, client->departed);
		json_object_set_new(row, "left_ms", json_integer(now - client->departed));
		json_object_set_new(row, "reason", json_string(close_reason_name(client->reason)));
		json_object_set_new(row, "limit",
		    client->limit == LIMIT_NONE ? json_null()
						: json_string(limit_name(client->limit)));
		if (client->tls_cause != TLS_FINE)
			json_object_set_new(
			    row, "tls_cause", json_string(tls_cause_name(client->tls_cause)));
		if (json_array_append_new(rows, row) == -1)
			return -1;
	}
	return 0;
}
