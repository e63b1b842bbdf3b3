/*
 * The commands that the daemon answers. This file does not know what they mean, except that the answer to status
 * determines the exit status.
 */
#include "echoctl/control.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/path.h"
#include "echoctl/connection.h"
#include "echoctl/wait.h"

#define PIECE 65536
#define SECOND_US 1000000

/* --- the request --- */

/* An argument that the daemon would not read as two, or as none. */
static bool is_word(const char *text)
{
	const char *at = text;

	while (*at > ' ' && *at <= '~')
		at++;
	return *at == '\0' && at != text;
}

static bool check_words(char *const *words, size_t count)
{
	char shown[64];

	for (size_t i = 0; i < count; i++) {
		if (is_word(words[i]))
			continue;
		complain("expected a word of printable characters, got \"%s\"",
		    log_escape(shown, sizeof(shown), words[i], strlen(words[i])));
		return false;
	}
	return true;
}

/* The request's line, allocated; NULL with errno. */
static char *make_line(const struct options *options, int count, char **words)
{
	char *line = NULL;
	size_t length;
	FILE *out = open_memstream(&line, &length);

	if (out == NULL)
		return NULL;
	fprintf(out, "%s%s", options->json ? "-j " : "", options->command);
	for (size_t i = 0; i < options->forwarded.count; i++)
		fprintf(out, " %s", options->forwarded.items[i]);
	for (int i = 0; i < count; i++)
		fprintf(out, " %s", words[i]);
	fputc('\n', out);
	if (fclose(out) == 0)
		return line;
	free(line);
	return NULL;
}

/* What -s says, allocated; a path will do. NULL with errno. */
static char *make_address(const char *socket)
{
	char *path, *address = NULL;

	if (strstr(socket, "://") != NULL)
		return strdup(socket);
	path = path_absolute(socket);
	if (path == NULL || asprintf(&address, "unix://%s", path) == -1)
		address = NULL;
	free(path);
	return address;
}

int control_open(struct control *control, const struct options *options, int count, char **words)
{
	*control = (struct control){ .options = options };
	if (!check_words(options->forwarded.items, options->forwarded.count) ||
	    !check_words(words, (size_t)count))
		return STATUS_USAGE;
	control->request = make_line(options, count, words);
	control->address = make_address(options->socket);
	if (control->request != NULL && control->address != NULL)
		return STATUS_OK;
	complain("%s", strerror(errno));
	return STATUS_NO;
}

void control_close(struct control *control)
{
	free(control->text);
	free(control->error);
	free(control->request);
	free(control->address);
}

/* --- the answer --- */

/* Takes the last line off the text if that is the answer's end; false = more has to come. */
static bool take_end(struct control *control)
{
	static const char no[] = "ERROR: ";
	const char *text = control->text, *last;
	size_t length = control->length;

	if (length == 0 || text[length - 1] != '\n')
		return false;
	last = memrchr(text, '\n', --length);
	last = last == NULL ? text : last + 1;
	length -= (size_t)(last - text);
	if (length > strlen(no) && memcmp(last, no, strlen(no)) == 0)
		control->error = strndup(last + strlen(no), length - strlen(no));
	else if (length != strlen("OK") || memcmp(last, "OK", length) != 0)
		return false;
	control->length = (size_t)(last - text);
	return true;
}

/* As recv(), behind what has come already. */
static ssize_t receive(struct control *control, int fd)
{
	ssize_t n;

	if (control->size - control->length < PIECE) {
		size_t size = 2 * control->size + PIECE;
		char *text = realloc(control->text, size);

		if (text == NULL)
			return -1;
		control->text = text;
		control->size = size;
	}
	n = recv(fd, control->text + control->length, PIECE, 0);
	if (n > 0)
		control->length += (size_t)n;
	return n;
}

static int complain_silence(const struct control *control)
{
	complain("%s: no answer within %g s: is the daemon stopped, or busy?", control->address,
	    (double)control->options->patience / SECOND_US);
	return STATUS_NO;
}

static int complain_end(const struct control *control)
{
	complain(
	    "%s: closed before the answer was complete: has the daemon stopped?", control->address);
	return STATUS_NO;
}

/* The request, and its answer. */
static int exchange(struct control *control, int fd)
{
	struct pollfd readable = { .fd = fd, .events = POLLIN };
	struct waiting waiting = { .what = control->address };
	size_t length = strlen(control->request);

	control->length = 0;
	free(control->error);
	control->error = NULL;
	if (send(fd, control->request, length, MSG_NOSIGNAL) != (ssize_t)length)
		return complain_end(control);
	while (!take_end(control)) {
		ssize_t n;

		waiting.since = clock_us();
		waiting.deadline = wait_deadline(waiting.since, control->options->patience);
		if (wait_poll(&waiting, &readable, 1) == 0)
			return complain_silence(control);
		n = receive(control, fd);
		if (n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR))
			return complain_end(control);
	}
	return STATUS_OK;
}

int control_ask(struct control *control)
{
	struct connection connection;
	int status = connection_open(&connection, control->address, control->options->patience);

	if (status == STATUS_OK)
		status = exchange(control, connection.fd);
	else if (status == STATUS_NOBODY)
		complain("is echod running, and does its control service listen there?");
	connection_close(&connection);
	return status;
}

int control_print(const struct control *control)
{
	bool refused = control->error != NULL;

	fwrite(control->text, 1, control->length,
	    refused && !control->options->json ? stderr : stdout);
	if (!refused)
		return STATUS_OK;
	complain("%s", control->error);
	return strncmp(control->error, "usage: ", strlen("usage: ")) == 0 ? STATUS_USAGE
									  : STATUS_NO;
}

/* Whether status has named a problem: in "problems", or at the end of the first line of its text. */
static bool needs_a_look(const struct control *control)
{
	static const char verdict[] = ": needs a look";
	const size_t length = strlen(verdict);
	const char *lf;
	json_t *answer;
	bool problems;

	if (strcmp(control->options->command, "status") != 0 || control->length == 0)
		return false;
	if (!control->options->json) {
		lf = memchr(control->text, '\n', control->length);
		return lf != NULL && lf - control->text >= (ptrdiff_t)length &&
		       memcmp(lf - length, verdict, length) == 0;
	}
	answer = json_loadb(control->text, control->length, 0, NULL);
	problems = json_array_size(json_object_get(answer, "problems")) > 0;
	json_decref(answer);
	return problems;
}

int control_command(const struct options *options, int count, char **words)
{
	struct control control;
	int status = control_open(&control, options, count, words);

	if (status == STATUS_OK && options->watch)
		status = control_watch(&control);
	else if (status == STATUS_OK && (status = control_ask(&control)) == STATUS_OK)
		status = control_print(&control);
	if (status == STATUS_OK && needs_a_look(&control))
		status = STATUS_LOOK;
	control_close(&control);
	return status;
}

/* Names may have to be looked up, and stores to be loaded. */
int reload_command(const struct options *options, int count, char **words)
{
	struct options patient = *options;

	patient.patience = INT64_MAX;
	return control_command(&patient, count, words);
}
