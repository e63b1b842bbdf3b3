/* A client that says all that it has to say, and hears the answers. */
#ifndef ECHOD_FUZZ_TALK_H
#define ECHOD_FUZZ_TALK_H

#include <stddef.h>

#include "fuzz.h"

struct server;

#define SENT_MAX 16384 /* what the sockets' buffers take without being read */

struct said {
	char bytes[1 << 20];
	size_t length;
	int error; /* how it ended: 0 = by an EOF */
};

/* Sends all to an instance in pieces of these lengths, half-closes, and hears the answers to their end. */
void talk(struct server *server, const char *name, struct input bytes, const size_t *pieces,
    size_t piece_count, struct said *said);

/* Two clients have heard the same. */
void require_same(const struct said *one, const struct said *other);

#endif
