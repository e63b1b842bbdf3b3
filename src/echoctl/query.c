/*
 * The commands that the daemon answers. This file does not know what they mean, except that the answer to status
 * determines the exit status.
 */
#include "echoctl/query.h"

#include <errno.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "control/command_row.h"
#include "core/clock.h"
#include "core/log.h"
#include "core/path.h"
#include "echoctl/connection.h"
#include "echoctl/wait.h"

#define PIECE 65536
#define SECOND_US 1000000

/* --- the request --- */

/* The daemon would read any other argument as two, or as none. */
static bool check_words(char *const *words, size_t count)
{
	char shown[64];

	for (size_t i = 0; i < count; i++) {
		const char *at = words[i];

		while (*at > ' ' && *at <= '~')
			at++;
		if (*at == '\0' && at != words[i])
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
	fprintf(out, "%s%s", options->json ? "-j " : "", options->row->name);
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

/* --- the answer --- */

/* Cuts the last line off if it is the answer's end; false = more has to come. */
static bool parse_end(struct query *query)
{
	static const char no[] = "ERROR: ";
	const char *text = query->text.bytes, *last;
	size_t length = query->text.length;

	if (length == 0 || text[length - 1] != '\n')
		return false;
	last = memrchr(text, '\n', --length);
	last = last == NULL ? text : last + 1;
	length -= (size_t)(last - text);
	if (length > strlen(no) && memcmp(last, no, strlen(no)) == 0)
		query->error = strndup(last + strlen(no), length - strlen(no));
	else if (length != strlen("OK") || memcmp(last, "OK", length) != 0)
		return false;
	query->text.length = (size_t)(last - text);
	return true;
}

static int complain_end(const struct query *query)
{
	complain(
	    "%s: closed before the answer was complete: has the daemon stopped?", query->address);
	return STATUS_NO;
}

/* Sends the request and receives its answer. */
static int exchange(struct query *query, struct connection *connection)
{
	int64_t patience = query->options->patience;
	struct pollfd readable = { .events = POLLIN };
	struct waiting waiting = { .what = query->address };
	size_t length = strlen(query->request);
	ssize_t n;
	char *to;

	query->text.length = 0;
	free(query->error);
	query->error = NULL;
	if (connection_write(connection, query->request, length) != (ssize_t)length)
		return complain_end(query);
	while (!parse_end(query)) {
		waiting.since = clock_us();
		waiting.deadline = wait_deadline(waiting.since, patience);
		if (connection_poll(connection, &waiting, &readable, 1) == 0) {
			complain("%s: no answer within %g s: is the daemon stopped, or busy?",
			    query->address, (double)patience / SECOND_US);
			return STATUS_NO;
		}
		if ((to = buffer_room(&query->text, PIECE)) == NULL)
			return complain_end(query);
		n = connection_read(connection, to, PIECE);
		if (n == -1 && connection->tls != NULL && errno != EAGAIN && errno != EINTR)
			return connection_complain(connection, errno);
		if (n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR))
			return complain_end(query);
		if (n > 0)
			query->text.length += (size_t)n;
	}
	return STATUS_OK;
}

int query_run(struct query *query)
{
	struct connection connection;
	int status = connection_open(&connection, query->address, query->options->patience, NULL);

	if (status == STATUS_OK)
		status = exchange(query, &connection);
	else if (status == STATUS_NOBODY)
		complain("is echod running, and does its control service listen there?");
	connection_close(&connection);
	return status;
}

int query_print(const struct query *query)
{
	bool refused = query->error != NULL;

	fwrite(query->text.bytes, 1, query->text.length,
	    refused && !query->options->json ? stderr : stdout);
	if (!refused)
		return STATUS_OK;
	complain("%s", query->error);
	return strncmp(query->error, "usage: ", strlen("usage: ")) == 0 ? STATUS_USAGE : STATUS_NO;
}

/* Whether status has named a problem: in "problems", or at the end of the first line of its text. */
static bool has_problem(const struct query *query)
{
	static const char verdict[] = ": needs a look";
	const size_t length = strlen(verdict);
	const char *lf;
	json_t *answer;
	bool problems;

	if (strcmp(query->options->row->name, "status") != 0 || query->text.length == 0)
		return false;
	if (!query->options->json) {
		lf = memchr(query->text.bytes, '\n', query->text.length);
		return lf != NULL && lf - query->text.bytes >= (ptrdiff_t)length &&
		       memcmp(lf - length, verdict, length) == 0;
	}
	answer = json_loadb(query->text.bytes, query->text.length, 0, NULL);
	problems = json_array_size(json_object_get(answer, "problems")) > 0;
	json_decref(answer);
	return problems;
}

char *query_address(const char *socket)
{
	char *address = NULL, *path;

	if (strstr(socket, "://") != NULL)
		return strdup(socket);
	if ((path = path_absolute(socket)) != NULL && asprintf(&address, "unix://%s", path) == -1)
		address = NULL;
	free(path);
	return address;
}

int query_command(const struct options *options, int count, char **words)
{
	struct query query = { .options = options };
	int status;

	if (!check_words(options->forwarded.items, options->forwarded.count) ||
	    !check_words(words, (size_t)count))
		return STATUS_USAGE;
	query.request = make_line(options, count, words);
	query.address = query_address(options->socket);
	if (query.request == NULL || query.address == NULL) {
		complain("%s", strerror(errno));
		status = STATUS_NO;
	} else if (options->watch) {
		status = query_watch(&query);
	} else if ((status = query_run(&query)) == STATUS_OK) {
		status = query_print(&query);
	}
	if (status == STATUS_OK && has_problem(&query))
		status = STATUS_LOOK;
	free(query.text.bytes);
	free(query.error);
	free(query.request);
	free(query.address);
	return status;
}
