/* The window: made, sent, received, checked. */
#include "client.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "net/endpoint.h"
#include "secure.h"

#define CHECK_EVERY 8                   /* of so many answers one is compared whole */
#define LOST_AFTER UINT64_C(1500000000) /* ns */

/* Room behind each datagram, and behind a stream's window, to see what should not be there. */
#define SURPLUS 16

uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000 + (uint64_t)now.tv_nsec;
}

/* --- failures --- */

static void fail(struct client *c, const char *why)
{
	static bool told;

	if (!told)
		fprintf(stderr, "load: %s\n", why);
	told = true;
	c->load->errors += c->asked - c->correct;
	close(c->fd);
	c->fd = -1;
}

static void show_wrong_answer(const struct client *c, const char *answer)
{
	static bool shown;
	size_t length = c->load->workload.answer.length;

	if (shown)
		return;
	shown = true;
	fprintf(stderr, "load: this is not the answer to request %llu: \"%.*s\"\n",
	    (unsigned long long)c->numbers[c->correct], (int)(length < 80 ? length : 80), answer);
}

/* --- answers --- */

/* Every eighth whole, and the first ones of a client: it is they that show a misunderstanding. */
static bool is_right(const struct client *c, const char *answer)
{
	const struct workload *w = &c->load->workload;
	uint64_t number = c->numbers[c->correct];

	if (c->load->latency.count < CHECK_EVERY || c->load->latency.count % CHECK_EVERY == 0)
		return workload_is_answer(w, number, answer);
	return workload_ends_well(w, number, answer);
}

/* Counts the answers that are whole by now; false when one is wrong. */
static bool take_answers(struct client *c, uint64_t now)
{
	size_t length = c->load->workload.answer.length;

	while (c->correct < c->asked && c->received >= (c->correct + 1) * length) {
		const char *answer = c->answers + c->correct * length;

		if (!is_right(c, answer)) {
			show_wrong_answer(c, answer);
			return false;
		}
		c->correct++;
		histogram_add(&c->load->latency, now - c->started, 1);
	}
	return true;
}

static void receive_stream(struct client *c)
{
	size_t window = c->asked * c->load->workload.answer.length;
	size_t size = window + SURPLUS - c->received;
	char *to = c->answers + c->received;
	ssize_t n = c->tls != NULL ? secure_receive(c->tls, to, size) : recv(c->fd, to, size, 0);

	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		fail(c, n == 0 ? "the server has closed a connection" : strerror(errno));
		return;
	}
	c->received += (size_t)n;
	if (!take_answers(c, now_ns()))
		fail(c, "a wrong answer");
	else if (c->received > window)
		fail(c, "bytes that are no answer");
	else if (c->correct == c->asked)
		client_ask(c);
}

/* An answer that came in a datagram of its own. */
static void take_datagram(struct client *c, const struct mmsghdr *message, uint64_t now)
{
	const char *bytes = message->msg_hdr.msg_iov->iov_base;
	size_t length = c->load->workload.answer.length;

	if (c->correct == c->asked)
		return; /* late: it was given up */
	if (message->msg_len == length && is_right(c, bytes)) {
		c->correct++;
		histogram_add(&c->load->latency, now - c->started, 1);
		return;
	}
	show_wrong_answer(c, bytes);
	c->load->errors++;
	c->asked--;
}

static void receive_datagrams(struct client *c)
{
	static struct mmsghdr messages[WINDOW_MAX];
	static struct iovec slots[WINDOW_MAX];
	size_t slot = c->load->workload.answer.length + SURPLUS;
	uint64_t now;
	int n;

	for (unsigned i = 0; i < c->load->window; i++) {
		slots[i] = (struct iovec){ c->answers + i * slot, slot };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &slots[i], .msg_iovlen = 1 };
	}
	n = recvmmsg(c->fd, messages, c->load->window, MSG_DONTWAIT, NULL);
	if (n == -1 && errno != EAGAIN && errno != EINTR) {
		fail(c, strerror(errno));
		return;
	}
	now = now_ns();
	for (int i = 0; i < n; i++)
		take_datagram(c, &messages[i], now);
	if (c->correct == c->asked)
		client_ask(c);
}

/* --- requests --- */

static void send_stream(struct client *c)
{
	const char *bytes = c->requests + c->sent;
	ssize_t n = c->tls != NULL ? secure_send(c->tls, bytes, c->unsent)
				   : send(c->fd, bytes, c->unsent, MSG_NOSIGNAL);

	if (n == -1 && errno != EAGAIN && errno != EINTR) {
		fail(c, strerror(errno));
		return;
	}
	if (n > 0) {
		c->sent += (size_t)n;
		c->unsent -= (size_t)n;
	}
	c->blocked = c->unsent > 0;
}

/* What the socket does not take is given up by client_check() like any datagram that got lost. */
static void send_datagrams(struct client *c)
{
	static struct mmsghdr messages[WINDOW_MAX];
	static struct iovec slots[WINDOW_MAX];
	size_t length = c->load->workload.request.length;

	for (unsigned i = 0; i < c->asked; i++) {
		slots[i] = (struct iovec){ c->requests + i * length, length };
		messages[i].msg_hdr = (struct msghdr){ .msg_iov = &slots[i], .msg_iovlen = 1 };
	}
	if (sendmmsg(c->fd, messages, c->asked, 0) == -1 && errno != EAGAIN && errno != EINTR)
		fail(c, strerror(errno));
}

void client_ask(struct client *c)
{
	struct load *load = c->load;
	char *to = c->requests;

	c->asked = load->remaining < load->window ? (unsigned)load->remaining : load->window;
	load->remaining -= c->asked;
	c->correct = 0;
	c->received = c->sent = 0;
	if (c->asked == 0)
		return;
	for (unsigned i = 0; i < c->asked; i++) {
		c->numbers[i] = workload_next(&load->workload);
		to = workload_request(&load->workload, c->numbers[i], to);
	}
	c->unsent = (size_t)(to - c->requests);
	c->started = now_ns();
	if (c->datagrams)
		send_datagrams(c);
	else
		send_stream(c);
}

void client_ready(struct client *c)
{
	if (c->datagrams) {
		receive_datagrams(c);
		return;
	}
	receive_stream(c);
	if (c->blocked && c->fd != -1)
		send_stream(c);
}

void client_check(struct client *c, uint64_t now)
{
	if (c->fd == -1 || c->correct == c->asked || now - c->started < LOST_AFTER)
		return;
	if (!c->datagrams) {
		fail(c, "no answer, or one that is too short");
		return;
	}
	c->load->errors += c->asked - c->correct;
	client_ask(c);
}

/* --- the connection --- */

static int wait_for_greeting(const struct client *c)
{
	char heard[64];
	size_t length = strlen(c->load->workload.greeting);

	if (length == 0)
		return 0;
	if ((c->tls != NULL ? secure_receive(c->tls, heard, length)
			    : recv(c->fd, heard, length, MSG_WAITALL)) == (ssize_t)length &&
	    memcmp(heard, c->load->workload.greeting, length) == 0)
		return 0;
	errno = EPROTO;
	return -1;
}

static int buffers_new(struct client *c)
{
	const struct workload *w = &c->load->workload;
	size_t window = c->load->window;

	c->numbers = calloc(window, sizeof(*c->numbers));
	c->requests = malloc(window * w->request.length);
	c->answers = malloc(window * (w->answer.length + SURPLUS) + SURPLUS);
	return c->numbers == NULL || c->requests == NULL || c->answers == NULL ? -1 : 0;
}

int client_open(struct client *client, struct load *load, const struct endpoint *to)
{
	bool datagrams = !transport_is_stream(to->transport);

	*client = (struct client){ .load = load, .datagrams = datagrams };
	client->fd =
	    socket(to->any.sa_family, (datagrams ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
	if (client->fd == -1 || buffers_new(client) == -1 ||
	    connect(client->fd, &to->any, to->length) == -1 ||
	    (to->protocol.tls && (client->tls = secure_connect(client->fd)) == NULL) ||
	    wait_for_greeting(client) == -1 || fcntl(client->fd, F_SETFL, O_NONBLOCK) == -1) {
		int saved = errno;

		client_close(client);
		errno = saved;
		return -1;
	}
	return 0;
}

void client_close(struct client *client)
{
	secure_free(client->tls);
	if (client->fd != -1)
		close(client->fd);
	free(client->numbers);
	free(client->requests);
	free(client->answers);
	*client = (struct client){ .fd = -1 };
}
