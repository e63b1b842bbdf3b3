/* discard (RFC 863): takes everything, says nothing. */
#include <event2/buffer.h>

#include "services/service.h"

static enum verdict discard_data(struct stream *stream, struct evbuffer *in, struct evbuffer *out)
{
	(void)stream;
	(void)out;
	return evbuffer_drain(in, evbuffer_get_length(in)) == -1 ? VERDICT_ABORT : VERDICT_CONTINUE;
}

static ssize_t discard_datagram(
    struct instance *instance, const struct datagram *request, char *reply, size_t size)
{
	(void)instance;
	(void)request;
	(void)reply;
	(void)size;
	return -1;
}

static const struct handlers handlers = { .data = discard_data, .datagram = discard_datagram };

const struct service_ops service_discard = {
	.kind = SERVICE_KIND(
	    "discard", "Takes everything and says nothing (RFC 863).", SERVICE_DATAGRAMS),
	.transports = SERVICE_BOTH,
	.handlers = &handlers,
};
