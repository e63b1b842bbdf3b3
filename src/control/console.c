/* The table of commands; a line into a request, and its answer into pieces. */
#include "control/console.h"

#include <errno.h>
#include <event2/buffer.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "control/request.h"
#include "control/show.h"
#include "core/suggest.h"
#include "net/instance.h"
#include "net/stream.h"
#include "observe/json.h"
#include "services/host.h"
#include "services/service.h"

static const struct command command_help;

static const struct command *const commands[] = {
	&command_status,
	&command_listeners,
	&command_clients,
	&command_kill,
	&command_reload,
	&command_reopen,
	&command_log,
	&command_stats,
	&command_why,
	&command_help,
};
#define COMMANDS (sizeof(commands) / sizeof(commands[0]))

struct control_task {
	struct request request;
	bool begun;
	size_t rows; /* of a list, so far */
};

/* --- what commands call --- */

void *request_refuse(struct request *request, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(request->error, sizeof(request->error), format, args);
	va_end(args);
	return NULL;
}

void *request_misuse(struct request *request, const char *reason)
{
	const struct command *command = request->command;

	if (reason != NULL)
		strings_add(&request->details, reason);
	return request_refuse(request, "usage: %s%s%s", command->name,
	    *command->arguments == '\0' ? "" : " ", command->arguments);
}

void request_log(const struct request *request, const char *format, ...)
{
	const char *name = stream_instance(request->client)->name;
	struct ucred who;
	char text[256];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (stream_credentials(request->client, &who) == -1)
		log_info("%s: %s (asked by an unknown user: %s)", name, text, strerror(errno));
	else if (who.pid == 0) /* outside of our PID namespace */
		log_info(
		    "%s: %s (asked by user %u, from another PID namespace)", name, text, who.uid);
	else
		log_info(
		    "%s: %s (asked by user %u, process %d)", name, text, who.uid, (int)who.pid);
}

/* --- from the line to the request --- */

static char *next_word(char **at)
{
	char *word;

	while (is_space(**at))
		(*at)++;
	if (**at == '\0')
		return NULL;
	word = *at;
	while (**at != '\0' && !is_space(**at))
		(*at)++;
	if (**at != '\0')
		*(*at)++ = '\0';
	return word;
}

/* Whether the word is an option of the command with all that it takes. */
static bool take_option(struct request *request, char *word, char **at)
{
	char *value = strchr(word, '=');

	if (value != NULL)
		*value++ = '\0';
	for (int i = 0; i < REQUEST_OPTIONS; i++) {
		const struct request_option *option = &request->command->options[i];

		if (option->name == NULL || strcmp(option->name, word) != 0)
			continue;
		if (option->value != NULL && value == NULL)
			value = next_word(at);
		request->options[i] = option->value != NULL ? value : "";
		return (option->value != NULL) == (value != NULL);
	}
	return false;
}

static bool take_words(struct request *request, char *at)
{
	char *word;

	while ((word = next_word(&at)) != NULL) {
		if (word[0] == '-' && word[1] == '-') {
			if (!take_option(request, word, &at))
				return false;
		} else if (request->word_count == REQUEST_WORDS) {
			return false;
		} else {
			request->words[request->word_count++] = word;
		}
	}
	return request->word_count >= request->command->least &&
	       request->word_count <= request->command->most;
}

static const struct command *find_command(struct request *request, const char *name)
{
	struct suggestion suggestion = { .name = name };

	for (size_t i = 0; i < COMMANDS; i++) {
		if (strcasecmp(commands[i]->name, name) == 0)
			return commands[i];
		suggest_offer(&suggestion, commands[i]->name);
	}
	if (suggestion.best != NULL)
		return request_refuse(request, "unknown command \"%.64s\"; did you mean \"%s\"?",
		    name, suggestion.best);
	return request_refuse(
	    request, "unknown command \"%.64s\"; \"help\" lists the commands", name);
}

/* Whether there is a command to run; otherwise the request is refused. */
static bool understand(struct request *request)
{
	char *at = request->line, *word = next_word(&at);

	if (word != NULL && strcmp(word, "-j") == 0) {
		request->json = true;
		word = next_word(&at);
	}
	if (word == NULL) {
		request_refuse(request, "empty command; \"help\" lists the commands");
		return false;
	}
	request->command = find_command(request, word);
	if (request->command == NULL)
		return false;
	if (take_words(request, at))
		return true;
	request_misuse(request, NULL);
	return false;
}

/* --- the answer --- */

/* The end of every answer. An error has been told by the JSON as well. */
static void write_end(const struct request *request, struct evbuffer *out)
{
	if (request->error[0] == '\0') {
		evbuffer_add_printf(out, "OK\n");
		return;
	}
	evbuffer_add_printf(out, "ERROR: ");
	show_text(request->error, out);
	evbuffer_add_printf(out, "\n");
}

static json_t *error_object(const struct request *request)
{
	return json_pack("{s:o, s:o}", "error", json_text(request->error), "details",
	    json_strings(&request->details));
}

static void write_error(struct request *request, struct evbuffer *out)
{
	json_t *object;

	if (request->error[0] == '\0')
		request_refuse(request, "out of memory");
	for (size_t i = 0; !request->json && i < request->details.count; i++) {
		show_text(request->details.items[i], out);
		evbuffer_add_printf(out, "\n");
	}
	if (!request->json)
		return;
	object = error_object(request);
	if (object == NULL || json_write_line(object, out) == -1)
		evbuffer_add_printf(out, "{\"error\":\"out of memory\",\"details\":[]}\n");
	json_decref(object);
}

static void write_answer(struct request *request, struct evbuffer *out)
{
	json_t *answer;

	request->waits = false;
	answer = request->command->answer(request);
	if (request->waits)
		return;
	if (answer == NULL)
		write_error(request, out);
	else if (request->json)
		json_write_line(answer, out);
	else if (request->command->show != NULL)
		request->command->show(answer, out);
	json_decref(answer);
}

static void write_row(struct control_task *task, const json_t *row, struct evbuffer *out)
{
	const struct request *request = &task->request;

	if (!request->json) {
		request->command->list->show_row(row, out);
	} else {
		evbuffer_add_printf(out, "%s", task->rows > 0 ? "," : "");
		json_write(row, out);
	}
	task->rows++;
}

static bool begin_list(struct control_task *task, struct evbuffer *out)
{
	struct request *request = &task->request;
	const struct request_list *list = request->command->list;

	if (list->begin(request) == -1) {
		write_error(request, out);
		return false;
	}
	if (request->json)
		evbuffer_add_printf(out, "{\"%s\":[", list->name);
	else
		list->show_head(request, out);
	return true;
}

/* Some rows; false when they were the last. What fails on the way ends the array and is told behind it. */
static bool go_on_with_list(struct control_task *task, struct evbuffer *out)
{
	struct request *request = &task->request;
	json_t *rows = json_array(), *row;
	bool more = request->command->list->more(request, rows);
	size_t i;

	json_array_foreach (rows, i, row)
		write_row(task, row, out);
	json_decref(rows);
	if (!more && request->json && request->error[0] == '\0')
		evbuffer_add_printf(out, "]}\n");
	else if (!more && request->json)
		evbuffer_add_printf(out, "],\"error\":\"%s\"}\n", request->error);
	return more;
}

/* Writes the first piece, or the whole answer; whether more pieces follow. */
static bool begin_answer(struct control_task *task, struct evbuffer *out)
{
	struct request *request = &task->request;

	if (!understand(request)) {
		write_error(request, out);
		return false;
	}
	if (request->command->list != NULL)
		return begin_list(task, out);
	write_answer(request, out);
	return false;
}

static bool go_on_with_answer(struct control_task *task, struct evbuffer *out)
{
	if (task->request.command->list != NULL)
		return go_on_with_list(task, out);
	write_answer(&task->request, out);
	return false;
}

/* --- the host --- */

static struct control_task *console_begin(const struct host *host, struct stream *client,
    struct errand *work, const char *line, size_t length)
{
	struct control_task *task = calloc(1, sizeof(*task));

	if (task == NULL)
		return NULL;
	task->request.server = host->server;
	task->request.client = client;
	task->request.work = work;
	task->request.line = strndup(line, length);
	if (task->request.line == NULL) {
		free(task);
		return NULL;
	}
	if (strlen(task->request.line) < length) /* a NUL must not hide what follows */
		task->request.line[0] = '\0';
	return task;
}

static enum control_progress console_go_on(struct control_task *task, struct evbuffer *out)
{
	bool more = task->begun ? go_on_with_answer(task, out) : begin_answer(task, out);

	task->begun = true;
	if (task->request.waits)
		return CONTROL_WAITS;
	if (more)
		return CONTROL_MORE;
	write_end(&task->request, out);
	return CONTROL_DONE;
}

static void console_end(struct control_task *task)
{
	struct request *request = &task->request;

	if (request->state != NULL)
		request->command->end(request);
	strings_clear(&request->details);
	free(request->line);
	free(task);
}

static void console_dump(const struct host *host)
{
	status_log(host->server);
}

void console_init(struct host *host)
{
	*host = (struct host){ .begin = console_begin,
		.go_on = console_go_on,
		.end = console_end,
		.dump = console_dump };
}

/* --- help --- */

static json_t *help_answer(struct request *request)
{
	json_t *list = json_array();

	(void)request;
	for (size_t i = 0; i < COMMANDS; i++)
		json_array_append_new(
		    list, json_pack("{s:s, s:s, s:s}", "name", commands[i]->name, "arguments",
			      commands[i]->arguments, "help", commands[i]->help));
	return json_pack("{s:o}", "commands", list);
}

static void help_show(json_t *answer, struct evbuffer *out)
{
	json_t *list = json_object_get(answer, "commands"), *command;
	size_t i;

	json_array_foreach (list, i, command)
		evbuffer_add_printf(out, "%s %s: %s\n", json_string_of(command, "name"),
		    json_string_of(command, "arguments"), json_string_of(command, "help"));
	evbuffer_add_printf(out, "quit: close the connection\n");
	evbuffer_add_printf(out, "With -j before it a command answers in JSON.\n");
}

static const struct command command_help = {
	.name = "help",
	.arguments = "",
	.help = "list the commands",
	.answer = help_answer,
	.show = help_show,
};
