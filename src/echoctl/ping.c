/*
 * echoctl ping: sends probes to an echo service and measures how long each takes to come back. A probe is a line of
 * 64 bytes that no other run and no other probe has, so its reply is recognised by its bytes.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>

#include "core/clock.h"
#include "core/log.h"
#include "echoctl/connection.h"
#include "echoctl/echoctl.h"
#include "echoctl/ping_report.h"
#include "echoctl/probes.h"
#include "echoctl/wait.h"

#define PROBE_BYTES 64
#define PROBE_FORMAT "echoctl ping seq=%09u key=%s\n"
#define KEY_DIGITS 32
#define ANSWER_MAX 2048 /* of a datagram: enough to see that it is longer than a probe */

struct ping {
	const struct options *options;
	struct connection connection;
	struct probes probes;
	struct ping_report report;
	char key[KEY_DIGITS + 1]; /* of this run */
	int64_t started, next;    /* when the first was sent, when the next one is */

	char partial[PROBE_BYTES]; /* a stream's next answer, as far as it has come */
	size_t partial_length;
	unsigned frames; /* answers of a stream, which come in order */

	int status; /* of what went wrong last */
	bool over;  /* by something that went wrong */
};

static void write_probe(const struct ping *ping, unsigned sequence, char to[PROBE_BYTES + 1])
{
	snprintf(to, PROBE_BYTES + 1, PROBE_FORMAT, sequence, ping->key);
}

static void fail(struct ping *ping, const char *why)
{
	complain("%s: %s", ping->connection.address.text, why);
	ping->status = STATUS_NO;
	ping->over = true;
}

static void complain_foreign(struct ping *ping, const char *bytes, size_t length)
{
	char shown[PROBE_BYTES];

	log_escape(shown, sizeof(shown), bytes, length);
	complain("%s: not an echo: it answered \"%s\"", ping->connection.address.text, shown);
	ping->status = STATUS_NO;
}

static void accept_answer(struct ping *ping, unsigned sequence)
{
	double ms;
	enum probe_answer kind = probes_receive(&ping->probes, sequence, clock_us(), &ms);

	if (kind != PROBE_UNKNOWN)
		report_answer(&ping->report, sequence, kind, ms);
}

/* --- sending --- */

/*
 * After a refused or undeliverable datagram, tries the next endpoint of the name, unless this one has answered
 * before.
 */
static void handle_refusal(struct ping *ping, int error)
{
	char probe[PROBE_BYTES + 1];

	if (ping->probes.received == 0 && connection_next_after(&ping->connection, error) == 0) {
		write_probe(ping, ping->probes.sent, probe);
		send(ping->connection.fd, probe, PROBE_BYTES, MSG_NOSIGNAL);
		return;
	}
	while (probes_oldest(&ping->probes) != NULL)
		probes_give_up(&ping->probes);
	ping->status = connection_complain(&ping->connection, error);
}

static bool all_sent(const struct ping *ping)
{
	int64_t count = ping->options->count;

	return ping->probes.sent == (count == 0 ? PROBE_SEQUENCE_MAX : count);
}

/* The next one is due an interval after the last one was; missed ones are not made up for. */
static void send_due(struct ping *ping)
{
	struct connection *c = &ping->connection;
	char probe[PROBE_BYTES + 1];
	bool is_stream = transport_is_stream(c->address.transport);
	int64_t now = clock_us();
	ssize_t n;

	if (all_sent(ping) || probes_full(&ping->probes) || now < ping->next)
		return;
	ping->next += ping->options->interval;
	if (ping->next < now)
		ping->next = now;
	write_probe(ping, probes_send(&ping->probes, clock_us()), probe);
	n = is_stream ? connection_write(c, probe, PROBE_BYTES)
		      : send(c->fd, probe, PROBE_BYTES, MSG_NOSIGNAL);
	/* A Unix datagram socket whose peer has gone is connected to the one that has the address by now. */
	if (n == -1 && c->address.transport == TRANSPORT_UNIXGRAM &&
	    (errno == ECONNREFUSED || errno == ENOTCONN) &&
	    connect(c->fd, &c->endpoint->any, c->endpoint->length) == 0)
		n = send(c->fd, probe, PROBE_BYTES, MSG_NOSIGNAL);
	if (n == PROBE_BYTES)
		return;
	if (is_stream)
		fail(ping, n != -1 || errno == EAGAIN ? "the peer takes no more"
						      : connection_strerror(c, errno));
	else if (errno != EAGAIN) /* a full queue has lost it, as any other on the way may */
		handle_refusal(ping, errno);
}

/* --- receiving --- */

static void receive_datagram(struct ping *ping)
{
	char bytes[ANSWER_MAX + 1], expected[PROBE_BYTES + 1] = "";
	ssize_t n = connection_receive(&ping->connection, bytes, ANSWER_MAX);
	unsigned sequence = 0;

	if (n == -1) {
		if (errno != EAGAIN)
			handle_refusal(ping, errno);
		return;
	}
	bytes[n] = '\0';
	if (n == PROBE_BYTES && sscanf(bytes, "echoctl ping seq=%9u", &sequence) == 1)
		write_probe(ping, sequence, expected);
	if (sequence != 0 && memcmp(bytes, expected, PROBE_BYTES) == 0)
		accept_answer(ping, sequence);
	else
		complain_foreign(ping, bytes, (size_t)n);
}

/* Compares what has arrived with the next probe in order: a stream loses and swaps nothing. */
static void receive_stream(struct ping *ping)
{
	ssize_t n = connection_read(&ping->connection, ping->partial + ping->partial_length,
	    PROBE_BYTES - ping->partial_length);
	char expected[PROBE_BYTES + 1];

	if (n == -1) {
		if (errno != EAGAIN)
			fail(ping, connection_strerror(&ping->connection, errno));
		return;
	}
	ping->partial_length += (size_t)n;
	write_probe(ping, ping->frames + 1, expected);
	if (n == 0) {
		fail(ping, "the peer has closed the connection");
	} else if (memcmp(ping->partial, expected, ping->partial_length) != 0) {
		complain_foreign(ping, ping->partial, ping->partial_length);
		ping->over = true;
	} else if (ping->partial_length == PROBE_BYTES) {
		ping->partial_length = 0;
		accept_answer(ping, ++ping->frames);
	}
}

/* --- the run --- */

static void run(struct ping *ping, int signals)
{
	bool is_stream = transport_is_stream(ping->connection.address.transport);
	struct pollfd fds[2] = { { .events = POLLIN }, { .fd = signals, .events = POLLIN } };
	int64_t patience = ping->options->patience, now;
	const struct probe *oldest;

	ping->started = ping->next = clock_us();
	for (;;) {
		struct waiting waiting = { .deadline = INT64_MAX };

		send_due(ping);
		now = clock_us();
		while ((oldest = probes_oldest(&ping->probes)) != NULL &&
		       wait_deadline(oldest->sent_at, patience) <= now)
			report_lost(&ping->report, probes_give_up(&ping->probes), patience);
		if (ping->over || ferror(stdout) || (all_sent(ping) && oldest == NULL))
			return;
		if (oldest != NULL) {
			waiting.what = ping->connection.address.text;
			waiting.since = oldest->sent_at;
			waiting.deadline = wait_deadline(oldest->sent_at, patience);
		}
		if (!all_sent(ping) && !probes_full(&ping->probes) && ping->next < waiting.deadline)
			waiting.deadline = ping->next;
		if (connection_poll(&ping->connection, &waiting, fds, 2) == -1) {
			fail(ping, strerror(errno));
			return;
		}
		if (fds[1].revents != 0)
			return;
		if (fds[0].revents != 0)
			(is_stream ? receive_stream : receive_datagram)(ping);
	}
}

int ping_command(const struct options *options, int count, char **arguments)
{
	struct ping *ping = calloc(1, sizeof(*ping));
	unsigned char random[KEY_DIGITS / 2];
	int status, signals;

	(void)count;
	if (ping == NULL) {
		complain("out of memory");
		return STATUS_NO;
	}
	ping->options = options;
	status = connection_open(&ping->connection, arguments[0], options->patience, &options->tls);
	if (status != STATUS_OK)
		goto out;
	if ((signals = wait_signals()) == -1 ||
	    getrandom(random, sizeof(random), 0) != sizeof(random)) {
		complain("cannot start: %s", strerror(errno));
		status = STATUS_NO;
		goto out;
	}
	for (size_t i = 0; i < sizeof(random); i++)
		snprintf(ping->key + 2 * i, 3, "%02x", random[i]);
	ping->report = (struct ping_report){
		.json = options->json,
		.address = ping->connection.address.text,
		.peer = ping->connection.peer,
		.bytes = PROBE_BYTES,
	};
	report_start(&ping->report);
	run(ping, signals);
	report_summary(&ping->report, &ping->probes, clock_us() - ping->started);
	/* As ping(8): one answer is enough, but a stream that broke or was no echo is not. */
	if (ping->probes.received == 0 || ping->over)
		status = ping->status != STATUS_OK ? ping->status : STATUS_NO;
out:
	connection_close(&ping->connection);
	free(ping);
	return status;
}
