/*
 * RESP, the protocol of Redis: a request is an array of words, each with its length in front, so that they may hold any
 * bytes; or a line for people, an inline command. Requests are found where they lie; only an inline command is copied,
 * because it becomes an array, too.
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
