/* echo (RFC 862): sends back what it receives. */
#include <string.h>

#include "services/service.h"

struct echo_conf {
	int mode;
};

enum { MODE_STREAM, MODE_ONCE };
static const char *const modes[] = { "stream", "once", NULL };

static const struct option_row rows[] = {
	OPTION_DEFAULT(struct echo_conf, mode, choice, MODE_STREAM, .choices = modes,
	    .help = "How to serve streams: echo until the client closes the connection; or read "
		    "once, reply and close."),
	OPTION_END,
};

static enum verdict echo_bytes(struct stream *stream, struct evbuffer *in, struct evbuffer *out)
{
	(void)stream;
	return stream_move(out, in) == -1 ? VERDICT_ABORT : VERDICT_CONTINUE;
}

static enum verdict echo_once(struct stream *stream, struct evbuffer *in, struct evbuffer *out)
{
	return echo_bytes(stream, in, out) == VERDICT_ABORT ? VERDICT_ABORT : VERDICT_CLOSE;
}

static ssize_t echo_datagram(
    struct instance *instance, const struct datagram *request, char *reply, size_t size)
{
	(void)instance;
	(void)size;
	memcpy(reply, request->bytes, request->length);
	return (ssize_t)request->length;
}

static const struct handlers handlers[] = {
	[MODE_STREAM] = { .bytes = echo_bytes, .datagram = echo_datagram },
	[MODE_ONCE] = { .bytes = echo_once, .datagram = echo_datagram },
};

const struct service_ops service_echo = {
	.kind = SERVICE_KIND("echo", "Sends back the bytes that it receives (RFC 862).",
	    SERVICE_DATAGRAMS, SERVICE_OWN(rows, struct echo_conf)),
	.transports = SERVICE_BOTH,
	.handlers = handlers,
};
