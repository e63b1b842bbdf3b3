/* rfc868: the time protocol, 32 bits of seconds since 1900, once per client or datagram. */
#include <event2/buffer.h>
#include <time.h>

#include "core/clock.h"
#include "services/service.h"

#define EPOCH_1900 INT64_C(2208988800) /* seconds from there to 1970 */
#define ANSWER_SIZE 4

/* The number wraps in 2036, as RFC 868 has it. */
static void write_seconds(char to[ANSWER_SIZE])
{
	uint32_t seconds = (uint32_t)(clock_seconds() + EPOCH_1900);

	for (int i = 0; i < ANSWER_SIZE; i++)
		to[i] = (char)(seconds >> (24 - 8 * i));
}

static enum verdict rfc868_open(struct stream *stream, struct evbuffer *out)
{
	char answer[ANSWER_SIZE];

	(void)stream;
	write_seconds(answer);
	return evbuffer_add(out, answer, sizeof(answer)) == -1 ? VERDICT_ABORT : VERDICT_CLOSE;
}

/* Four bytes are what another server has answered: to answer them would begin a loop. */
static ssize_t rfc868_datagram(
    struct instance *instance, const struct datagram *request, char *reply, size_t size)
{
	(void)instance;
	if (request->length == ANSWER_SIZE || size < ANSWER_SIZE)
		return -1;
	write_seconds(reply);
	return ANSWER_SIZE;
}

static const struct handlers handlers = { .open = rfc868_open, .datagram = rfc868_datagram };

const struct service_ops service_rfc868 = {
	.kind = SERVICE_KIND("rfc868",
	    "Sends the seconds since 1900 as four bytes in network byte order (RFC 868).",
	    SERVICE_DATAGRAMS),
	.transports = SERVICE_BOTH,
	.handlers = &handlers,
};
