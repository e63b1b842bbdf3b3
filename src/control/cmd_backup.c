/* backup: copies the data of a service beside the loop; the request waits for the end. */
#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>

#include "control/request.h"
#include "control/show.h"
#include "core/error.h"
#include "net/instance.h"
#include "net/loop.h"
#include "net/task.h"
#include "observe/json.h"
#include "server.h"
#include "services/service.h"

/* The state of a request. */
struct wait {
	struct instance *instance; /* whose backup is being made; NULL = it has ended */
	json_t *answer;            /* then; NULL = it failed */
};

static void backup_done_cb(void *arg, const struct error *error, const char *sentence)
{
	struct request *request = arg;
	struct wait *wait = request->state;

	wait->instance = NULL;
	if (error != NULL)
		request_refuse(request, "%s", error->text);
	else
		wait->answer = json_pack("{s:o}", "backup", json_text(sentence));
	task_next_turn(request->work);
}

static struct instance *find_instance(const struct request *request, const char *name)
{
	struct instance *instance;

	TAILQ_FOREACH (instance, &request->server->running.loop->instances, entry)
		if (strcmp(instance->name, name) == 0)
			return instance;
	return NULL;
}

static json_t *backup_answer(struct request *request)
{
	struct wait *wait = request->state;
	const struct service_ops *service;
	struct instance *instance;
	struct error error;

	if (wait != NULL) {
		request->waits = wait->instance != NULL;
		return json_incref(wait->answer);
	}
	if (request->word_count != 2)
		return request_usage(request);
	instance = find_instance(request, request->words[0]);
	if (instance == NULL)
		return request_refuse(request, "no service is called \"%.64s\"", request->words[0]);
	service = service_of(instance->config->kind);
	if (service->backup == NULL)
		return request_refuse(
		    request, "%s has nothing to back up: it is no kv service", instance->name);
	if ((wait = calloc(1, sizeof(*wait))) == NULL)
		return NULL;
	request->state = wait;
	if (service->backup(instance, request->words[1], backup_done_cb, request, &error) == -1)
		return request_refuse(request, "%s", error.text);
	request_log(request, "backup of %s to %s", instance->name, request->words[1]);
	wait->instance = instance;
	request->waits = true;
	return NULL;
}

static void backup_end(struct request *request)
{
	struct wait *wait = request->state;

	if (wait->instance != NULL)
		service_of(wait->instance->config->kind)->forget_backup(wait->instance);
	json_decref(wait->answer);
	free(wait);
}

static void backup_show(json_t *answer, struct evbuffer *out)
{
	show_between("", json_string_of(answer, "backup"), "\n", out);
}

const struct command command_backup = {
	.answer = backup_answer,
	.show = backup_show,
	.end = backup_end,
};
