/*
 * RESP, the protocol of Redis: a request is an array of words, each behind its length, so that words may contain any
 * bytes; or a line that a person types, an inline command. The framing returns requests in place; it copies only an inline
 * command, which it turns into an array.
 */
#ifndef ECHOD_NET_FRAME_RESP_H
#define ECHOD_NET_FRAME_RESP_H

#include <stddef.h>

#include "core/slice.h"
#include "net/framing.h"

/* A longer request is refused; max_word comes on top, so that one of the longest words fits. Bytes. */
#define RESP_REQUEST_MAX ((size_t)1 << 20)

/*
 * The words of a request, which framing_resp has checked. How many there are, at least one; *at is set for
 * resp_word(), which returns the next of them.
 */
size_t resp_words(const struct message *request, const char **at);
struct slice resp_word(const char **at);

extern const struct framing framing_resp;

#endif
