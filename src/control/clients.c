/*
 * clients: those that are here, some at a time, so that a list of any length costs no other client more
 * than a moment; or those that left last.
 */
#include <event2/buffer.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "control/json.h"
#include "control/request.h"
#include "core/clock.h"
#include "net/client.h"
#include "net/endpoint.h"
#include "net/loop.h"
#include "net/stream.h"
#include "server.h"

#define LOOKS_PER_PIECE 1024 /* at clients, shown or not */
#define ROWS_PER_PIECE 64    /* a tenth of a millisecond */
#define ROW "%-8s %-16s %-24s %12s %12s %10s %10s  %s\n"

enum { SERVICE, SOURCE, IDLE_OVER, LEFT };

struct clients {
	struct client_walk walk; /* over those that are here */
	const char *service;     /* NULL = of any */
	struct network source;   /* without a text: from anywhere */
	int64_t idle_over;       /* ms; -1 = however busy */
};

/* A number of seconds, or with one of the units that the configuration knows; -1 = it is neither. */
static int64_t parse_duration(const char *text)
{
	struct option_section section = { 0 };
	static const struct option_row rows[] = {
		{ .key = "idle", .type = &option_duration },
		OPTION_END
	};
	const struct option_origin nowhere = { 0 };
	char quoted[64];
	int64_t value = -1;

	if (text[strspn(text, "0123456789smhd")] != '\0' || strlen(text) > 32)
		return -1;
	/* A string in the syntax of the configuration, because libconfig wraps integers that are too large. */
	snprintf(quoted, sizeof(quoted), "\"%s%s\"", text,
	    text[strspn(text, "0123456789")] == '\0' ? "s" : "");
	if (option_section_init(&section, rows, sizeof(value)) == 0 &&
	    option_set_text(&section, rows, quoted, &nowhere) == 0)
		value = *(int64_t *)section.fields;
	option_section_clear(&section);
	return value;
}

/* Whether the options make sense; otherwise the request is refused. */
static bool take_filters(struct request *request, struct clients *clients)
{
	const char *source = request->options[SOURCE], *idle = request->options[IDLE_OVER];
	char why[256], reason[384];

	clients->service = request->options[SERVICE];
	clients->idle_over = -1;
	if (clients->service != NULL &&
	    config_instance(request->server->config, clients->service) == NULL) {
		request_refuse(request, "there is no service \"%.64s\"", clients->service);
		return false;
	}
	if (source != NULL && network_parse(&clients->source, source, why, sizeof(why)) == -1) {
		snprintf(reason, sizeof(reason), "--source \"%.64s\": %s", source, why);
		request_misuse(request, reason);
		return false;
	}
	if (idle != NULL && (clients->idle_over = parse_duration(idle)) == -1) {
		snprintf(reason, sizeof(reason),
		    "--idle-over: expected seconds, or such as 5m, got \"%.64s\"", idle);
		request_misuse(request, reason);
		return false;
	}
	return true;
}

static int begin(struct request *request)
{
	struct clients *clients = calloc(1, sizeof(*clients));

	if (clients == NULL)
		return -1;
	if (!take_filters(request, clients)) {
		network_clear(&clients->source);
		free(clients);
		return -1;
	}
	client_walk_begin(&clients->walk, request->server->loop);
	request->state = clients;
	return 0;
}

static void end(struct request *request)
{
	struct clients *clients = request->state;

	client_walk_end(&clients->walk);
	network_clear(&clients->source);
	free(clients);
}

/* `until`: when it was active last, or came to its end. */
static bool is_wanted(const struct clients *clients, const struct client *client, int64_t until)
{
	if (clients->service != NULL && strcmp(clients->service, client->service) != 0)
		return false;
	if (clients->source.text != NULL && !network_matches(&clients->source, &client->peer))
		return false;
	return clients->idle_over == -1 || until - client->active > clients->idle_over;
}

static json_t *describe(const struct client *client, int64_t until)
{
	char peer[ADDRESS_TEXT_MAX];

	return json_pack("{s:I, s:s, s:o, s:I, s:I, s:I, s:I, s:I}", "id", (json_int_t)client->id,
	    "service", client->service, "peer",
	    json_text(peer_format(&client->peer, peer, sizeof(peer))), "age_ms",
	    (json_int_t)(until - client->opened), "idle_ms", (json_int_t)(until - client->active),
	    "bytes_in", (json_int_t)client->bytes_in, "bytes_out", (json_int_t)client->bytes_out,
	    "unsent", (json_int_t)client->unsent);
}

/* Adds a row; false when there is no memory for it. */
static bool add_row(struct request *request, json_t *rows, json_t *row)
{
	if (json_array_append_new(rows, row) == 0)
		return true;
	request_refuse(request, "out of memory");
	return false;
}

static bool add_some(struct request *request, json_t *rows)
{
	struct clients *clients = request->state;
	int64_t now = clock_ms();
	struct stream *stream;
	struct client client;

	for (int i = 0; i < LOOKS_PER_PIECE && json_array_size(rows) < ROWS_PER_PIECE; i++) {
		if ((stream = client_walk_next(&clients->walk)) == NULL)
			return false;
		stream_describe(stream, &client);
		if (is_wanted(clients, &client, now) &&
		    !add_row(request, rows, describe(&client, now)))
			return false;
	}
	return true;
}

static void add_those_who_left(struct request *request, json_t *rows)
{
	const struct clients_left *left = &request->server->loop->clients_left;
	struct clients_left_walk walk = { 0 };
	const struct client *client;
	int64_t now = clock_ms();
	json_t *row;

	while ((client = clients_left_next(left, &walk)) != NULL) {
		if (!is_wanted(request->state, client, client->left))
			continue;
		row = describe(client, client->left);
		json_object_set_new(row, "left_ms", json_integer(now - client->left));
		json_object_set_new(row, "reason", json_string(close_reason_name(client->reason)));
		json_object_set_new(row, "limit",
		    client->limit == LIMIT_NONE ? json_null()
						: json_string(limit_name(client->limit)));
		if (!add_row(request, rows, row))
			return;
	}
}

static bool more(struct request *request, json_t *rows)
{
	if (request->options[LEFT] == NULL)
		return add_some(request, rows);
	add_those_who_left(request, rows);
	return false;
}

static void show_head(const struct request *request, struct evbuffer *out)
{
	bool left = request->options[LEFT] != NULL;

	evbuffer_add_printf(out, ROW, "ID", "SERVICE", "PEER", left ? "STAYED" : "AGE", "IDLE",
	    "IN", "OUT", left ? "LEFT" : "UNSENT");
}

static void show_end(const json_t *row, char *to, size_t size)
{
	char ago[32], unsent[32];

	if (json_object_get(row, "reason") != NULL)
		snprintf(to, size, "%s%s%s %s ago", json_string_of(row, "reason"),
		    json_is_string(json_object_get(row, "limit")) ? ": " : "",
		    json_string_of(row, "limit"),
		    show_duration(json_number(row, "left_ms"), ago, sizeof(ago)));
	else
		snprintf(to, size, "%s",
		    show_bytes((uint64_t)json_number(row, "unsent"), unsent, sizeof(unsent)));
}

static void show_row(const json_t *row, struct evbuffer *out)
{
	char id[32], age[32], idle[32], in[32], sent[32], last[96];

	snprintf(id, sizeof(id), "%" PRId64, json_number(row, "id"));
	show_end(row, last, sizeof(last));
	evbuffer_add_printf(out, ROW, id, json_string_of(row, "service"),
	    json_string_of(row, "peer"),
	    show_duration(json_number(row, "age_ms"), age, sizeof(age)),
	    show_duration(json_number(row, "idle_ms"), idle, sizeof(idle)),
	    show_bytes((uint64_t)json_number(row, "bytes_in"), in, sizeof(in)),
	    show_bytes((uint64_t)json_number(row, "bytes_out"), sent, sizeof(sent)), last);
}

static const struct request_list list = {
	.name = "clients",
	.begin = begin,
	.more = more,
	.show_head = show_head,
	.show_row = show_row,
};

const struct command command_clients = {
	.name = "clients",
	.arguments = "[--service NAME] [--source NETWORK] [--idle-over SECONDS] [--left]",
	.help = "list the clients, or the last 64 that left",
	.options = { [SERVICE] = { "--service", "NAME" },
	    [SOURCE] = { "--source", "NETWORK" },
	    [IDLE_OVER] = { "--idle-over", "SECONDS" },
	    [LEFT] = { "--left", NULL } },
	.list = &list,
	.end = end,
};
