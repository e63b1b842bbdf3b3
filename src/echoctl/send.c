/* echoctl send: words or the standard input to the peer, its answer to standard output. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
#include "echoctl/announcement.h"
#include "echoctl/connection.h"
#include "echoctl/echoctl.h"
#include "echoctl/json_output.h"
#include "echoctl/pump.h"
#include "echoctl/wait.h"
#include "net/multicast.h"

#define SECOND_US 1000000
#define DATAGRAM_MAX (1 << 20) /* more than the kernel lets through */

/* The words with a blank between them, and what is to stand behind them. NULL with errno. */
static char *join(int count, char **words, const char *end, size_t *length)
{
	char *text = NULL;
	FILE *out = open_memstream(&text, length);

	if (out == NULL)
		return NULL;
	for (int i = 0; i < count; i++)
		fprintf(out, "%s%s", i == 0 ? "" : " ", words[i]);
	fputs(end, out);
	if (fclose(out) == 0)
		return text;
	free(text);
	return NULL;
}

static int no_answer(const struct connection *c, const struct options *options)
{
	complain(
	    "%s: no answer within %g s", c->address.text, (double)options->patience / SECOND_US);
	return STATUS_NO;
}

/* Prints the answer, once it is there as a whole. */
static int print_answer(
    const struct connection *c, const struct options *options, const char *bytes, size_t length)
{
	json_t *object;

	if (options->json) {
		object = json_with_bytes(json_pack("{s:s}", "address", c->peer), bytes, length);
		return json_print(object) == 0 ? STATUS_OK : STATUS_NO;
	}
	fwrite(bytes, 1, length, stdout);
	if (length > 0 && bytes[length - 1] != '\n' && isatty(STDOUT_FILENO))
		putchar('\n');
	return STATUS_OK;
}

/* --- streams --- */

static int judge_stream(const struct connection *c, const struct options *options,
    const struct pump *pump, enum pump_end end)
{
	switch (end) {
	case PUMP_FAILED:
		connection_complain(c, errno);
		return STATUS_NO; /* somebody was there */
	case PUMP_SILENT:
		if (pump->text_length == 0)
			return pump->received > 0 ? STATUS_OK : no_answer(c, options);
		complain("%s: the peer takes no more", c->address.text);
		return STATUS_NO;
	case PUMP_NO_INPUT:
		complain("cannot read the input: %s", strerror(errno));
		return STATUS_NO;
	case PUMP_NO_OUTPUT: /* told at the end */
		return STATUS_NO;
	case PUMP_CLOSED:
		break;
	}
	if (pump->received > 0 || pump->offered == 0)
		return STATUS_OK;
	complain("%s: closed without an answer", c->address.text);
	return STATUS_NO;
}

static int send_stream(
    struct connection *c, const struct options *options, const char *text, size_t length)
{
	struct pump pump = {
		.connection = c,
		.input = text == NULL ? STDIN_FILENO : -1,
		.text = text,
		.text_length = length,
		.output = stdout,
		.patience = options->patience,
		.what = c->address.text,
	};
	char *answer = NULL;
	int status;

	if (!options->json)
		return judge_stream(c, options, &pump, pump_run(&pump));
	/* With -j the output is one JSON object, so the whole reply is collected first. */
	if ((pump.output = open_memstream(&answer, &length)) == NULL)
		return connection_complain(c, errno);
	status = judge_stream(c, options, &pump, pump_run(&pump));
	if (fclose(pump.output) == EOF)
		status = connection_complain(c, errno);
	else if (status == STATUS_OK)
		status = print_answer(c, options, answer, length);
	free(answer);
	return status;
}

/* --- datagrams --- */

/* Whether there is nobody in particular to wait for. */
static bool goes_to_many(const struct endpoint *e)
{
	return multicast_is_group(&e->any) ||
	       (e->any.sa_family == AF_INET && e->in.sin_addr.s_addr == htonl(INADDR_BROADCAST));
}

/*
 * Asks the endpoints in turn until a datagram is neither refused nor undeliverable, and waits for the one answer. Its
 * length, or -1 with errno; ETIMEDOUT = none has arrived.
 */
static ssize_t ask(struct connection *c, const char *text, size_t length, char *answer, size_t size)
{
	ssize_t n;

	do {
		struct pollfd readable = { .fd = c->fd, .events = POLLIN };
		int64_t now = clock_us();
		const struct waiting waiting = { c->address.text, now,
			wait_deadline(now, c->patience) };
		int ready;

		n = send(c->fd, text, length, MSG_NOSIGNAL);
		if (n == -1)
			continue;
		if (goes_to_many(c->endpoint))
			return 0;
		do {
			if ((ready = wait_poll(&waiting, &readable, 1)) == 0)
				errno = ETIMEDOUT;
			n = ready <= 0 ? -1 : connection_receive(c, answer, size);
		} while (ready > 0 && n == -1 && errno == EAGAIN); /* it had a wrong checksum */
	} while (n == -1 && connection_next_after(c, errno) == 0);
	return n;
}

static int send_datagram(
    struct connection *c, const struct options *options, const char *text, size_t length)
{
	char *answer = malloc(DATAGRAM_MAX);
	ssize_t n = answer == NULL ? -1 : ask(c, text, length, answer, DATAGRAM_MAX);
	int status;

	if (n >= 0 && goes_to_many(c->endpoint))
		status = STATUS_OK;
	else if (n >= 0)
		status = print_answer(c, options, answer, (size_t)n);
	else if (errno == ETIMEDOUT)
		status = no_answer(c, options);
	else
		status = connection_complain(c, errno);
	free(answer);
	return status;
}

int send_command(const struct options *options, int count, char **arguments)
{
	struct connection c;
	struct announcement announcement;
	bool is_stream, from_input = count == 1;
	char *text = NULL;
	size_t length = 0;
	int status;

	if (options->proxy != NULL && announcement_make(&announcement, options->proxy) != STATUS_OK)
		return STATUS_USAGE;
	status = connection_open_announced(&c, arguments[0], options->patience, &options->tls,
	    options->proxy == NULL ? NULL : &announcement);
	is_stream = transport_is_stream(c.address.transport);
	if (status == STATUS_OK && !from_input) {
		text = join(count - 1, arguments + 1, is_stream ? "\n" : "", &length);
		if (text == NULL)
			status = connection_complain(&c, errno);
	} else if (status == STATUS_OK && !is_stream) {
		/* One byte too many is left to send(2) to refuse. */
		text = malloc(DATAGRAM_MAX);
		length = text == NULL ? 0 : fread(text, 1, DATAGRAM_MAX, stdin);
		if (text == NULL || ferror(stdin)) {
			complain("cannot read the input: %s", strerror(errno));
			status = STATUS_NO;
		}
	}
	if (status == STATUS_OK && is_stream)
		status = send_stream(&c, options, text, length);
	else if (status == STATUS_OK)
		status = send_datagram(&c, options, text, length);
	free(text);
	connection_close(&c);
	return status;
}
