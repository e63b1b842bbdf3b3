/* Turns a line into a request, and the answer of its command into pieces. */
#include "control/console.h"

#include <errno.h>
#include <event2/buffer.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "control/command_row.h"
#include "control/request.h"
#include "control/show.h"
#include "core/log.h"
#include "core/space.h"
#include "core/suggest.h"
#include "net/instance.h"
#include "net/stream.h"
#include "observe/json.h"
#include "services/host.h"

static const struct command *const commands[COMMAND_ROWS] = {
#define CONTROL(name, ...) [COMMAND_##name] = &command_##name,
#define LOCAL(...)
#include "control/commands.def"
};

/* Only here: echoctl has a help of its own. */
static const struct command_row help_row = { "help", 0, "", "", "list the commands" };
static const struct command command_help;

struct control_task {
	struct request request;
	bool begun;
	size_t rows; /* of a list, so far */
};

/* --- what commands call --- */

const char *request_option(const struct request *request, const char *name)
{
	for (size_t i = 0; i < request->option_count; i++)
		if (strcmp(request->options[i].name, name) == 0)
			return request->options[i].value;
	return NULL;
}

void *request_refuse(struct request *request, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(request->error.text, sizeof(request->error.text), format, args);
	va_end(args);
	return NULL;
}

void *request_usage(struct request *request)
{
	const struct command_row *row = request->row;

	return request_refuse(request, "usage: %s%s%s", row->name,
	    *row->arguments == '\0' ? "" : " ", row->arguments);
}

void *request_misuse(struct request *request, const char *format, ...)
{
	char reason[512];
	va_list args;

	va_start(args, format);
	vsnprintf(reason, sizeof(reason), format, args);
	va_end(args);
	strings_add(&request->details, reason);
	return request_usage(request);
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

/* Whether the word is an option of the row; it is kept with its value, which may be the next word. */
static bool parse_option(struct request *request, char *word, char **at)
{
	const char *synopsis = request->row->arguments;
	char *value = strchr(word, '=');
	struct synopsis_item item;
	size_t i = 0;

	if (value != NULL)
		*value++ = '\0';
	do
		if (!synopsis_next(&synopsis, &item))
			return false;
	while (item.length != strlen(word) || memcmp(item.name, word, item.length) != 0);
	if (item.takes_value && value == NULL)
		value = next_word(at);
	if (item.takes_value != (value != NULL))
		return false;
	while (i < request->option_count && strcmp(request->options[i].name, word) != 0)
		i++;
	if (i == REQUEST_OPTIONS)
		return false;
	if (i == request->option_count)
		request->option_count++;
	request->options[i] = (struct request_option){ word, value != NULL ? value : "" };
	return true;
}

/* Sets the row and the command of that name, or refuses the request. */
static bool find_command(struct request *request, const char *name)
{
	struct suggestion suggestion = { .name = name };

	for (int i = 0; i <= COMMAND_ROWS; i++) {
		bool is_help = i == COMMAND_ROWS;
		const struct command_row *row = is_help ? &help_row : &command_rows[i];

		if (row->flags & COMMAND_LOCAL)
			continue;
		if (strcasecmp(row->name, name) == 0) {
			request->row = row;
			request->command = is_help ? &command_help : commands[i];
			return true;
		}
		suggest_offer(&suggestion, row->name);
	}
	if (suggestion.best != NULL)
		request_refuse(request, "unknown command \"%.64s\"; did you mean \"%s\"?", name,
		    suggestion.best);
	else
		request_refuse(
		    request, "unknown command \"%.64s\"; \"help\" lists the commands", name);
	return false;
}

/* Whether the line has a command to run; otherwise the request is refused. */
static bool parse_line(struct request *request)
{
	char *at = request->line, *word = next_word(&at);
	size_t least, most;

	if (word != NULL && strcmp(word, "-j") == 0) {
		request->json = true;
		word = next_word(&at);
	}
	if (word == NULL) {
		request_refuse(request, "empty command; \"help\" lists the commands");
		return false;
	}
	if (!find_command(request, word))
		return false;
	while ((word = next_word(&at)) != NULL) {
		bool fits;

		if (strncmp(word, "--", 2) == 0)
			fits = parse_option(request, word, &at);
		else if ((fits = request->word_count < REQUEST_WORDS))
			request->words[request->word_count++] = word;
		if (!fits) {
			request_usage(request);
			return false;
		}
	}
	synopsis_count(request->row->arguments, &least, &most);
	if (request->word_count >= least && request->word_count <= most)
		return true;
	request_usage(request);
	return false;
}

/* --- the answer --- */

static void write_error(struct request *request, struct evbuffer *out)
{
	const struct strings *details = &request->details;
	json_t *object;

	if (request->error.text[0] == '\0')
		request_refuse(request, "out of memory");
	for (size_t i = 0; !request->json && i < details->count; i++)
		show_between("", details->items[i], "\n", out);
	if (!request->json)
		return;
	object = json_pack("{s:o, s:o}", "error", json_text(request->error.text), "details",
	    json_strings(details));
	if (object == NULL || json_write_line(object, out) == -1)
		evbuffer_add_printf(out, "{\"error\":\"out of memory\",\"details\":[]}\n");
	json_decref(object);
}

/* Writes some rows; false when they were the last. An error ends the array and follows it. */
static bool write_rows(struct control_task *task, struct evbuffer *out)
{
	struct request *request = &task->request;
	const struct request_list *list = request->command->list;
	json_t *rows = json_array(), *row;
	bool more = list->more(request, rows);
	size_t i;

	json_array_foreach (rows, i, row) {
		if (!request->json) {
			list->show_row(row, out);
			continue;
		}
		evbuffer_add_printf(out, "%s", task->rows++ > 0 ? "," : "");
		json_write(row, out);
	}
	json_decref(rows);
	if (!more && request->json && request->error.text[0] == '\0')
		evbuffer_add_printf(out, "]}\n");
	else if (!more && request->json)
		evbuffer_add_printf(out, "],\"error\":\"%s\"}\n", request->error.text);
	return more;
}

/* Writes the next piece, or the whole answer; whether more pieces follow. */
static bool write_piece(struct control_task *task, struct evbuffer *out)
{
	struct request *request = &task->request;
	const struct request_list *list;
	const struct command *command;
	json_t *answer;

	if (task->begun && request->command->list != NULL)
		return write_rows(task, out);
	if (!task->begun && !parse_line(request)) {
		write_error(request, out);
		return false;
	}
	task->begun = true;
	request->waits = false;
	command = request->command;
	if ((list = command->list) != NULL) {
		if (list->begin(request) == -1)
			write_error(request, out);
		else if (request->json)
			evbuffer_add_printf(out, "{\"%s\":[", list->name);
		else
			list->show_head(request, out);
		return request->error.text[0] == '\0';
	}
	answer =
	    command->gather != NULL ? command->gather(request->server) : command->answer(request);
	if (request->waits)
		return false;
	if (answer == NULL)
		write_error(request, out);
	else if (request->json)
		json_write_line(answer, out);
	else
		command->show(answer, out);
	json_decref(answer);
	return false;
}

/* --- the host --- */

static struct control_task *console_begin(const struct host *host, struct stream *client,
    struct task *work, const char *line, size_t length)
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
	const struct request *request = &task->request;
	bool more = write_piece(task, out);

	if (request->waits)
		return CONTROL_WAITS;
	if (more)
		return CONTROL_MORE;
	if (request->error.text[0] == '\0')
		evbuffer_add_printf(out, "OK\n");
	else
		show_between("ERROR: ", request->error.text, "\n", out);
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

void console_init(struct host *host)
{
	*host = (struct host){ .begin = console_begin,
		.go_on = console_go_on,
		.end = console_end,
		.dump = status_dump };
}

/* --- help --- */

static json_t *help_answer(struct request *request)
{
	json_t *list = json_array();

	(void)request;
	for (int i = 0; i <= COMMAND_ROWS; i++) {
		const struct command_row *row = i < COMMAND_ROWS ? &command_rows[i] : &help_row;

		if (!(row->flags & COMMAND_LOCAL))
			json_array_append_new(
			    list, json_pack("{s:s, s:s, s:s}", "name", row->name, "arguments",
				      row->arguments, "help", row->help));
	}
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
	evbuffer_add_printf(out, "Put -j before a command for a reply in JSON.\n");
}

static const struct command command_help = { .answer = help_answer, .show = help_show };
