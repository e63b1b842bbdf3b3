/* upper: a to z become A to Z, and nothing else changes. */
#include <event2/buffer.h>

#include "net/frame_lines.h"
#include "net/replies.h"
#include "services/service.h"

struct upper_conf {
	int mode;
};

enum { MODE_STREAM, MODE_LINE, MODE_ONCE };
static const char *const modes[] = { "stream", "line", "once", NULL };

static const struct option_row rows[] = {
	OPTION_DEFAULT(struct upper_conf, mode, choice, MODE_STREAM, .choices = modes,
	    .help = "How to serve streams: convert bytes as they arrive; convert lines; or read "
		    "once, strip, convert, reply and close."),
	OPTION_END,
};

/* In a form that the compiler turns into vector instructions. */
static void to_upper(char *to, const char *from, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		unsigned char byte = (unsigned char)from[i];

		to[i] = (char)(byte - ((unsigned char)(byte - 'a') < 26 ? 'a' - 'A' : 0));
	}
}

/* Converts each extent where it lies, then moves all of them without a copy. */
static enum verdict upper_bytes(struct stream *stream, struct evbuffer *in, struct evbuffer *out)
{
	struct evbuffer_iovec extent;
	struct evbuffer_ptr at;

	(void)stream;
	evbuffer_ptr_set(in, &at, 0, EVBUFFER_PTR_SET);
	while (evbuffer_peek(in, -1, &at, &extent, 1) > 0 && extent.iov_len > 0) {
		to_upper(extent.iov_base, extent.iov_base, extent.iov_len);
		if (evbuffer_ptr_set(in, &at, extent.iov_len, EVBUFFER_PTR_ADD) == -1)
			break;
	}
	return stream_move(out, in) == -1 ? VERDICT_ABORT : VERDICT_CONTINUE;
}

static enum verdict upper_once(struct stream *stream, struct evbuffer *in, struct evbuffer *out)
{
	size_t length = evbuffer_get_length(in);
	char *bytes = (char *)evbuffer_pullup(in, -1);
	const char *stripped = bytes;

	(void)stream;
	if (bytes == NULL)
		return VERDICT_ABORT;
	to_upper(bytes, bytes, length);
	strip(&stripped, &length);
	return evbuffer_add(out, stripped, length) == -1 ? VERDICT_ABORT : VERDICT_CLOSE;
}

static enum verdict upper_lines(struct stream *stream, struct run *run)
{
	struct message *line;

	(void)stream;
	while ((line = run_next(run)) != NULL) {
		to_upper(line->bytes, line->bytes, line->length);
		replies_add(run->replies, line->bytes, line->length);
		if (!run->is_tail)
			replies_text(run->replies, "\n");
	}
	return VERDICT_CONTINUE;
}

static ssize_t upper_datagram(
    struct instance *instance, const struct datagram *request, char *reply, size_t size)
{
	const char *bytes = request->bytes;
	size_t length = request->length;

	(void)instance;
	(void)size;
	strip(&bytes, &length);
	to_upper(reply, bytes, length);
	return (ssize_t)length;
}

static const struct refusals refusals = {
	.long_line = "ERROR: line too long\n",
	.sniffed = SNIFFED_TEXTS("ERROR: this is the echod upper port, not ", "\n"),
};

static const struct handlers handlers[] = {
	[MODE_STREAM] = { .bytes = upper_bytes, .datagram = upper_datagram },
	[MODE_LINE] = { .flags = HANDLERS_TAIL,
	    .framing = &framing_lines,
	    .refusals = &refusals,
	    .messages = upper_lines,
	    .datagram = upper_datagram },
	[MODE_ONCE] = { .bytes = upper_once, .datagram = upper_datagram },
};

const struct service_ops service_upper = {
	.kind = SERVICE_KIND("upper",
	    "Sends back what it receives, with the letters a to z in upper case.", SERVICE_LINES,
	    SERVICE_DATAGRAMS, SERVICE_OWN(rows, struct upper_conf)),
	.transports = SERVICE_BOTH,
	.handlers = handlers,
};
