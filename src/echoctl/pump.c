/* The pump: one buffer towards the peer, and none back, for the output may block. */
#include "echoctl/pump.h"

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <unistd.h>

#include "core/clock.h"
#include "echoctl/connection.h"
#include "echoctl/wait.h"

#define PIECE 65536

static int push(struct pump *pump)
{
	ssize_t n = connection_write(pump->connection, pump->text, pump->text_length);

	if (n == -1 && (errno == EPIPE || errno == ECONNRESET)) {
		/*
		 * The peer takes no more, but its answer may still be there to be read. That it was cut off, the
		 * kernel reports only once: to the first of send and recv.
		 */
		pump->reset = errno == ECONNRESET;
		pump->input = -1;
		pump->text_length = 0;
		return 0;
	}
	if (n == -1)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	pump->text += n;
	pump->text_length -= (size_t)n;
	if (pump->text_length == 0 && pump->input == -1)
		connection_finish(pump->connection);
	return 0;
}

/* What is read next goes into the buffer, which has been sent. */
static int refill(struct pump *pump, char *buffer)
{
	ssize_t n = read(pump->input, buffer, PIECE);

	if (n == -1)
		return errno == EAGAIN || errno == EINTR ? 0 : -1;
	if (n == 0) {
		pump->input = -1;
		connection_finish(pump->connection);
	}
	pump->text = buffer;
	pump->text_length = (size_t)n;
	pump->offered += (size_t)n;
	return 0;
}

/* Whether the pump goes on; otherwise *end says how it ends. */
static bool pull(struct pump *pump, enum pump_end *end)
{
	char buffer[PIECE];
	ssize_t n = connection_read(pump->connection, buffer, sizeof(buffer));

	if (n == 0 && pump->reset) {
		n = -1;
		errno = ECONNRESET;
	}
	*end = n == 0 ? PUMP_CLOSED : PUMP_FAILED;
	if (n <= 0)
		return n == -1 && (errno == EAGAIN || errno == EINTR);
	pump->received += (size_t)n;
	*end = PUMP_NO_OUTPUT;
	return fwrite(buffer, 1, (size_t)n, pump->output) == (size_t)n && fflush(pump->output) == 0;
}

enum pump_end pump_run(struct pump *pump)
{
	int64_t since = clock_us();
	char buffer[PIECE];
	enum pump_end end;
	int ready;

	pump->offered = pump->text_length;
	if (pump->text_length == 0 && pump->input == -1)
		connection_finish(pump->connection);
	for (;;) {
		bool sending = pump->text_length > 0, reading = !sending && pump->input != -1;
		struct waiting waiting = { .since = since, .deadline = INT64_MAX };
		struct pollfd fds[2] = {
			{ .events = POLLIN | (sending ? POLLOUT : 0) },
			{ .fd = reading ? pump->input : -1, .events = POLLIN },
		};

		if (!reading)
			waiting.deadline = wait_deadline(since, pump->patience);
		/* On a terminal the answer may have left the cursor within a line, which is to stay. */
		if (!reading && pump->received == 0)
			waiting.what = pump->what;
		if ((ready = connection_poll(pump->connection, &waiting, fds, 2)) <= 0)
			return ready == 0 ? PUMP_SILENT : PUMP_FAILED;
		since = clock_us();
		if ((fds[0].revents & POLLOUT) && push(pump) == -1)
			return PUMP_FAILED;
		if (fds[0].revents & (POLLIN | POLLHUP | POLLERR) && !pull(pump, &end))
			return end;
		if (fds[1].revents != 0 && refill(pump, buffer) == -1)
			return PUMP_NO_INPUT;
	}
}
