/* clients: those that are here, or that left last; and kill, which ends one. */
#include <event2/buffer.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "control/request.h"
#include "control/show.h"
#include "core/config.h"
#include "core/option.h"
#include "net/endpoint.h"
#include "net/stream.h"
#include "observe/clients.h"
#include "observe/json.h"
#include "server.h"

#define ROW "%-8s %-16s %-24s %12s %12s %10s %10s  %s\n"

static int clients_list_begin(struct request *request)
{
	struct clients_query *query = request->state = calloc(1, sizeof(*query));
	const char *source = request_option(request, "--source");
	const char *idle = request_option(request, "--idle-over");
	struct error error;

	if (query == NULL)
		return -1;
	clients_begin(query, request->server);
	query->service = request_option(request, "--service");
	query->idle_over = -1;
	if (query->service != NULL &&
	    config_instance(request->server->running.config, query->service) == NULL) {
		request_refuse(request, "there is no service \"%.64s\"", query->service);
		return -1;
	}
	if (source != NULL && network_parse(&query->source, source, &error) == -1) {
		request_misuse(request, "--source \"%.64s\": %s", source, error.text);
		return -1;
	}
	if (idle != NULL && (query->idle_over = option_read_duration(idle)) == -1) {
		request_misuse(request,
		    "--idle-over: expected a number of seconds or a duration such as 5m, got "
		    "\"%.64s\"",
		    idle);
		return -1;
	}
	return 0;
}

static void clients_list_end(struct request *request)
{
	clients_end(request->state);
	free(request->state);
}

static bool clients_list_more(struct request *request, json_t *rows)
{
	int more = request_option(request, "--left") == NULL
		       ? clients_add_some(request->state, rows)
		       : clients_add_departed(request->state, request->server, rows);

	if (more == -1)
		request_refuse(request, "out of memory");
	return more == 1;
}

static void clients_show_head(const struct request *request, struct evbuffer *out)
{
	bool left = request_option(request, "--left") != NULL;

	evbuffer_add_printf(out, ROW, "ID", "SERVICE", "PEER", left ? "STAYED" : "AGE", "IDLE",
	    "IN", "OUT", left ? "LEFT" : "UNSENT");
}

static void clients_show_row(const json_t *row, struct evbuffer *out)
{
	char id[32], age[32], idle[32], in[32], sent[32], last[96], text[32], peer[512];
	const char *tls_client = json_string_of(row, "tls_client");
	const char *proxy = json_string_of(row, "proxy"), *user = json_string_of(row, "user");
	const char *limit = json_string_of(row, "limit"), *cause = json_string_of(row, "tls_cause");

	snprintf(id, sizeof(id), "%" PRId64, json_number(row, "id"));
	snprintf(peer, sizeof(peer), "%s%s%s%s%s%s%s", json_string_of(row, "peer"),
	    *proxy == '\0' ? "" : " by ", proxy, *tls_client == '\0' ? "" : " ", tls_client,
	    *user == '\0' ? "" : " user ", user);
	if (json_object_get(row, "reason") != NULL)
		snprintf(last, sizeof(last), "%s%s%s%s %s ago", json_string_of(row, "reason"),
		    *limit == '\0' && *cause == '\0' ? "" : ": ", limit, cause,
		    show_duration(json_number(row, "left_ms"), text, sizeof(text)));
	else
		show_bytes((uint64_t)json_number(row, "unsent"), last, sizeof(last));
	evbuffer_add_printf(out, ROW, id, json_string_of(row, "service"), peer,
	    show_duration(json_number(row, "age_ms"), age, sizeof(age)),
	    show_duration(json_number(row, "idle_ms"), idle, sizeof(idle)),
	    show_bytes((uint64_t)json_number(row, "bytes_in"), in, sizeof(in)),
	    show_bytes((uint64_t)json_number(row, "bytes_out"), sent, sizeof(sent)), last);
}

static const struct request_list clients_list = {
	.name = "clients",
	.begin = clients_list_begin,
	.more = clients_list_more,
	.show_head = clients_show_head,
	.show_row = clients_show_row,
};

const struct command command_clients = {
	.list = &clients_list,
	.end = clients_list_end,
};

/* --- kill --- */

static json_t *kill_answer(struct request *request)
{
	int64_t id = decimal_parse(request->words[0], INT64_MAX);
	struct stream *stream;
	struct client client;
	char peer[ADDRESS_TEXT_MAX];

	if (id == -1)
		return request_misuse(
		    request, "expected the ID of a client, as shown by \"clients\"");
	stream = stream_find(request->server->running.loop, (uint64_t)id);
	if (stream == NULL)
		return request_refuse(request, "no client has the id %" PRId64, id);
	if (stream == request->client)
		return request_refuse(
		    request, "%" PRId64 " is this very connection; use \"quit\" to close it", id);
	stream_describe(stream, &client);
	peer_format(&client.peer, peer, sizeof(peer));
	request_log(request, "kills client %" PRId64 ", %s of %s", id, peer, client.service);
	stream_kill(stream);
	return json_pack("{s:I, s:s, s:o}", "killed", (json_int_t)id, "service", client.service,
	    "peer", json_text(peer));
}

static void kill_show(json_t *answer, struct evbuffer *out)
{
	evbuffer_add_printf(out, "closed client %" PRId64 ", %s of %s\n",
	    json_number(answer, "killed"), json_string_of(answer, "peer"),
	    json_string_of(answer, "service"));
}

const struct command command_kill = {
	.answer = kill_answer,
	.show = kill_show,
};
