/*
 * chargen (RFC 864): lines of 72 characters that rotate through all 95 printable ones, for as long as
 * the client reads. They repeat after 95 lines: those are made once, and all clients are sent the same
 * bytes.
 */
#include <event2/buffer.h>
#include <stdlib.h>

#include "services/service.h"

#define CHARACTERS 95 /* from the blank on */
#define COLUMNS 72
#define LINE_LENGTH (COLUMNS + 2)
#define PATTERN_LENGTH ((size_t)CHARACTERS * LINE_LENGTH)
#define PATTERNS_AT_ONCE 8 /* some 55 KiB */

static int chargen_start(struct instance *instance, struct error *error)
{
	char *to = instance->state = malloc(PATTERN_LENGTH);

	if (to == NULL)
		return error_memory(error);
	for (int line = 0; line < CHARACTERS; line++) {
		for (int column = 0; column < COLUMNS; column++)
			*to++ = (char)(' ' + (line + column) % CHARACTERS);
		*to++ = '\r';
		*to++ = '\n';
	}
	return 0;
}

static enum verdict chargen_writable(struct stream *stream, struct evbuffer *out)
{
	const char *pattern = stream_instance(stream)->state;

	for (int i = 0; i < PATTERNS_AT_ONCE; i++)
		if (evbuffer_add_reference(out, pattern, PATTERN_LENGTH, NULL, NULL) == -1)
			return VERDICT_ABORT;
	return VERDICT_CONTINUE;
}

/* Without an `eof` handler, a client with nothing to say may still listen. */
static const struct handlers handlers = { .writable = chargen_writable };

const struct service_ops service_chargen = {
	.kind = SERVICE_KIND(
	    "chargen", "Sends lines of characters for as long as the client reads (RFC 864)."),
	.transports = SERVICE_STREAM,
	.transports_why = "over UDP, a forged request would cause a flood (CVE-1999-0103)",
	.handlers = &handlers,
	.start = chargen_start,
};
