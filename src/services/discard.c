/* discard (RFC 863): takes everything, says nothing. */
#include "services/service.h"

static ssize_t discard_datagram(
    struct instance *instance, const struct datagram *request, char *reply, size_t size)
{
	(void)instance;
	(void)request;
	(void)reply;
	(void)size;
	return -1;
}

/* Without a `bytes` handler, what a stream receives is dropped. */
static const struct handlers handlers = { .datagram = discard_datagram };

const struct service_ops service_discard = {
	.kind =
	    SERVICE_KIND("discard", "Reads and discards everything (RFC 863).", SERVICE_DATAGRAMS),
	.transports = SERVICE_BOTH,
	.handlers = &handlers,
};
