/* discard (RFC 863): takes everything, says nothing. */
#include "services/service.h"

/* Without handlers, what a stream receives is dropped, and no datagram gets an answer. */
static const struct handlers handlers = { 0 };

const struct service_ops service_discard = {
	.kind =
	    SERVICE_KIND("discard", "Reads and discards everything (RFC 863).", SERVICE_DATAGRAMS),
	.transports = SERVICE_BOTH,
	.handlers = &handlers,
};
