/*
 * receiver: prints the datagrams that come, with their senders, to the log. It answers nothing, so it
 * may hear broadcast and multicast; the listener of a multicast address has joined its group.
 */
#include "services/service.h"

#define LINES_PER_SECOND 100
#define TEXT_MAX 1024 /* of a datagram, escaped */

struct receiver_conf {
	char *interface; /* NULL = as routed */
};

static const struct option_row rows[] = {
	OPTION(struct receiver_conf, interface, string,
	    .help = "The network interface on which to join multicast groups; without this key, "
		    "the routing table selects it."),
	OPTION_END,
};

static void receiver_configure(struct instance *instance)
{
	instance->service_lines.rate = LINES_PER_SECOND;
}

static ssize_t receiver_datagram(
    struct instance *instance, const struct datagram *request, char *reply, size_t size)
{
	size_t length = request->length;
	char peer[ADDRESS_TEXT_MAX], text[TEXT_MAX];

	(void)reply;
	(void)size;
	if (length > 0 && request->bytes[length - 1] == '\n')
		length--;
	log_limited(&instance->service_lines, LOG_LEVEL_INFO, "%s %s: %s", instance->name,
	    sockaddr_format(request->from, request->from_length, peer, sizeof(peer)),
	    log_escape(text, sizeof(text), request->bytes, length));
	return -1;
}

static const struct handlers handlers = { .datagram = receiver_datagram,
	.flags = HANDLERS_RECEIVE };

const struct service_ops service_receiver = {
	.kind =
	    SERVICE_KIND("receiver", "Logs the datagrams that it receives, including multicast.",
		SERVICE_OWN(rows, struct receiver_conf)),
	.transports = SERVICE_DATAGRAM,
	.handlers = &handlers,
	.configure = receiver_configure,
};
