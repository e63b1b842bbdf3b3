/* echoctl send: words or the standard input to the peer, its answer to standard output. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/clock.h"
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

/* As JSON the answer is one object, so all of it is collected first. */
static int pump_to_json(
    const struct connection *c, const struct options *options, struct pump *pump)
{
	char *answer = NULL;
	size_t length;
	int status;

	if ((pump->output = open_memstream(&answer, &length)) == NULL)
		return connection_complain(c, errno);
	status = judge_stream(c, options, pump, pump_run(pump));
	if (fclose(pump->output) == EOF)
		status = connection_complain(c, errno);
	else if (status == STATUS_OK)
		status = print_answer(c, options, answer, length);
	free(answer);
	return status;
}

static int send_stream(
    const struct connection *c, const struct options *options, const char *text, size_t length)
{
	struct pump pump = {
		.fd = c->fd,
		.input = text == NULL ? STDIN_FILENO : -1,
		.text = text,
		.text_length = length,
		.output = stdout,
		.patience = options->patience,
		.what = c->address.text,
	};

	if (options->json)
		return pump_to_json(c, options, &pump);
	return judge_stream(c, options, &pump, pump_run(&pump));
}

/* --- datagrams --- */

/* Whether there is nobody in particular to wait for. */
static bool goes_to_many(const struct endpoint *e)
{
	return multicast_is_group(&e->any) ||
	       (e->any.sa_family == AF_INET && e->in.sin_addr.s_addr == htonl(INADDR_BROADCAST));
}

/* The one answer. Its length, or -1 with errno; ETIMEDOUT = none has come. */
static ssize_t await_answer(const struct connection *c, char *to, size_t size)
{
	struct pollfd readable = { .fd = c->fd, .events = POLLIN };
	int64_t now = clock_us();
	const struct waiting waiting = { c->address.text, now, wait_deadline(now, c->patience) };
	ssize_t n;
	int ready;

	do {
		if ((ready = wait_poll(&waiting, &readable, 1)) == 0)
			errno = ETIMEDOUT;
		if (ready <= 0)
			return -1;
		n = connection_receive(c, to, size);
	} while (n == -1 && errno == EAGAIN); /* it had a wrong checksum */
	return n;
}

/* Asks the endpoints in turn until a datagram is neither refused nor undeliverable. As await_answer(). */
static ssize_t ask(
    struct connection *c, const char *text, size_t length, char *answer, size_t answer_size)
{
	ssize_t n;

	do {
		n = send(c->fd, text, length, MSG_NOSIGNAL);
		if (n != -1 && goes_to_many(c->endpoint))
			return 0;
		if (n != -1)
			n = await_answer(c, answer, answer_size);
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

/* The whole standard input; NULL after a complaint. One byte too many is left to send(2) to refuse. */
static char *read_input(size_t *length)
{
	char *text = malloc(DATAGRAM_MAX);

	*length = text == NULL ? 0 : fread(text, 1, DATAGRAM_MAX, stdin);
	if (text != NULL && !ferror(stdin))
		return text;
	complain("cannot read the input: %s", strerror(errno));
	free(text);
	return NULL;
}

static int send_input_datagram(struct connection *c, const struct options *options)
{
	size_t length;
	char *text = read_input(&length);
	int status = text == NULL ? STATUS_NO : send_datagram(c, options, text, length);

	free(text);
	return status;
}

static int send_words(struct connection *c, const struct options *options, int count, char **words)
{
	bool is_stream = transport_is_stream(c->address.transport);
	size_t length;
	char *text = join(count, words, is_stream ? "\n" : "", &length);
	int status;

	if (text == NULL)
		return connection_complain(c, errno);
	if (is_stream)
		status = send_stream(c, options, text, length);
	else
		status = send_datagram(c, options, text, length);
	free(text);
	return status;
}

static int send_input(struct connection *c, const struct options *options)
{
	if (transport_is_stream(c->address.transport))
		return send_stream(c, options, NULL, 0);
	return send_input_datagram(c, options);
}

int send_command(const struct options *options, int count, char **arguments)
{
	struct connection connection;
	int status = connection_open(&connection, arguments[0], options->patience);

	if (status == STATUS_OK && count > 1)
		status = send_words(&connection, options, count - 1, arguments + 1);
	else if (status == STATUS_OK)
		status = send_input(&connection, options);
	connection_close(&connection);
	return status;
}
