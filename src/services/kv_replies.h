/*
 * The replies to a run of requests, gathered: one addition to the output buffer for all of them costs a
 * fraction of one for each.
 */
#ifndef ECHOD_SERVICES_KV_REPLIES_H
#define ECHOD_SERVICES_KV_REPLIES_H

#include <event2/buffer.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

struct replies {
	struct evbuffer *out;
	bool lost;     /* out of memory: there is a gap */
	size_t before; /* bytes of the output in front of these */
	size_t length;
	char bytes[4096];
};

static inline void replies_begin(struct replies *replies, struct evbuffer *out)
{
	replies->out = out;
	replies->lost = false;
	replies->before = evbuffer_get_length(out);
	replies->length = 0;
}

static inline void replies_flush(struct replies *replies)
{
	if (replies->length > 0)
		replies->lost |= evbuffer_add(replies->out, replies->bytes, replies->length) == -1;
	replies->before += replies->length;
	replies->length = 0;
}

static inline void replies_add(struct replies *replies, const void *bytes, size_t length)
{
	if (length > sizeof(replies->bytes) - replies->length)
		replies_flush(replies);
	if (length > sizeof(replies->bytes)) {
		replies->lost |= evbuffer_add(replies->out, bytes, length) == -1;
		replies->before += length;
		return;
	}
	if (length > 0)
		memcpy(replies->bytes + replies->length, bytes, length);
	replies->length += length;
}

static inline void replies_text(struct replies *replies, const char *text)
{
	replies_add(replies, text, strlen(text));
}

/* Bytes of the output with them. */
static inline size_t replies_end(const struct replies *replies)
{
	return replies->before + replies->length;
}

#endif
