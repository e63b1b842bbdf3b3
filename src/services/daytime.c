/* daytime (RFC 867): local time as a line for people, once per client or datagram. */
#include <event2/buffer.h>
#include <string.h>
#include <time.h>

#include "core/clock.h"
#include "services/service.h"

#define LINE_LENGTH (sizeof("Sat Nov 21 00:58:17 2026\r\n") - 1)

/* The line's length, or 0. */
static size_t write_line(char *to, size_t size)
{
	time_t now = clock_seconds();
	struct tm tm;

	if (localtime_r(&now, &tm) == NULL)
		return 0;
	return strftime(to, size, "%a %b %e %T %Y\r\n", &tm);
}

static enum verdict daytime_open(struct stream *stream, struct evbuffer *out)
{
	char line[LINE_LENGTH + 1];
	size_t length = write_line(line, sizeof(line));

	(void)stream;
	return evbuffer_add(out, line, length) == -1 ? VERDICT_ABORT : VERDICT_CLOSE;
}

static ssize_t daytime_datagram(
    struct instance *instance, const struct datagram *request, char *reply, size_t size)
{
	/* What another daytime server has answered: to answer it would begin a loop. */
	bool is_answer = request->length == LINE_LENGTH &&
			 memcmp(request->bytes + LINE_LENGTH - 2, "\r\n", 2) == 0;
	size_t length = is_answer ? 0 : write_line(reply, size);

	(void)instance;
	return length == 0 ? -1 : (ssize_t)length;
}

static const struct handlers handlers = { .open = daytime_open, .datagram = daytime_datagram };

const struct service_ops service_daytime = {
	.kind =
	    SERVICE_KIND("daytime", "Sends the local time as a line (RFC 867).", SERVICE_DATAGRAMS),
	.transports = SERVICE_BOTH,
	.handlers = &handlers,
};
