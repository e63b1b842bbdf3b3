/* The small commands that change something: kill, reopen, log. */
#include <event2/buffer.h>
#include <inttypes.h>

#include "control/json.h"
#include "control/request.h"
#include "core/log.h"
#include "net/client.h"
#include "net/endpoint.h"
#include "net/loop.h"
#include "net/stream.h"
#include "server.h"

/* --- kill --- */

static json_t *kill_answer(struct request *request)
{
	int64_t id = decimal_parse(request->words[0], INT64_MAX);
	struct stream *stream;
	struct client client;
	char peer[ADDRESS_TEXT_MAX];

	if (id == -1)
		return request_misuse(
		    request, "expected the id of a client, a number that \"clients\" lists");
	stream = stream_find(request->server->loop, (uint64_t)id);
	if (stream == NULL)
		return request_refuse(request, "no client has the id %" PRId64, id);
	if (stream == request->client)
		return request_refuse(
		    request, "%" PRId64 " is this very connection; \"quit\" closes it", id);
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
	.name = "kill",
	.arguments = "ID",
	.help = "close the client of that id",
	.least = 1,
	.most = 1,
	.answer = kill_answer,
	.show = kill_show,
};

/* --- reopen --- */

static json_t *reopen_answer(struct request *request)
{
	char why[1024];

	request_log(request, "reopen");
	if (server_reopen_log(request->server, why, sizeof(why)) == -1)
		return request_refuse(request, "cannot reopen the log's file: %s", why);
	return json_pack("{s:b}", "reopened", 1);
}

static void reopen_show(json_t *answer, struct evbuffer *out)
{
	(void)answer;
	evbuffer_add_printf(out, "reopened the log\n");
}

const struct command command_reopen = {
	.name = "reopen",
	.arguments = "",
	.help = "open the log file again, after it was renamed",
	.answer = reopen_answer,
	.show = reopen_show,
};

/* --- log --- */

static json_t *log_answer(struct request *request)
{
	const char *before = log_level_name(log_level());
	int level;

	if (request->word_count == 0)
		return json_pack("{s:s}", "level", before);
	if ((level = log_level_parse(request->words[0])) == -1)
		return request_misuse(request, NULL);
	log_set_level((enum log_level)level);
	request_log(request, "logs %s, until now %s", log_level_name(log_level()), before);
	return json_pack("{s:s, s:s}", "level", log_level_name(log_level()), "before", before);
}

static void log_show(json_t *answer, struct evbuffer *out)
{
	evbuffer_add_printf(out, "log level %s\n", json_string_of(answer, "level"));
}

const struct command command_log = {
	.name = "log",
	.arguments = "[error | warning | info | debug]",
	.help = "log this level until the next reload, or say which it is",
	.most = 1,
	.answer = log_answer,
	.show = log_show,
};
