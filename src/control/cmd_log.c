/* reopen and log: the log's file, and its level. */
#include <event2/buffer.h>

#include "control/request.h"
#include "control/show.h"
#include "core/error.h"
#include "core/log.h"
#include "server.h"

/* --- reopen --- */

static json_t *reopen_answer(struct request *request)
{
	struct error error;

	request_log(request, "reopen");
	if (server_reopen_log(request->server, &error) == -1)
		return request_refuse(request, "cannot reopen the log file: %s", error.text);
	return json_pack("{s:b}", "reopened", 1);
}

static void reopen_show(json_t *answer, struct evbuffer *out)
{
	(void)answer;
	evbuffer_add_printf(out, "reopened the log\n");
}

const struct command command_reopen = {
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
		return request_usage(request);
	log_set_level((enum log_level)level);
	request_log(request, "logs %s, until now %s", log_level_name(log_level()), before);
	return json_pack("{s:s, s:s}", "level", log_level_name(log_level()), "before", before);
}

static void log_show(json_t *answer, struct evbuffer *out)
{
	evbuffer_add_printf(out, "log level %s\n", json_string_of(answer, "level"));
}

const struct command command_log = {
	.answer = log_answer,
	.show = log_show,
};
