/*
 * The replies to one client, in the order of its requests. A reply that is known goes to the output. One that is not
 * known yet, because a commit has to come first, is a promise: it keeps its place, and what is behind it waits. No byte
 * of the output is ever taken back.
 *
 * struct replies lasts for one turn and gathers short replies, because one addition to the output for all of them costs
 * a fraction of one for each. struct promises lasts while something is promised, and belongs to the stream.
 */
#ifndef ECHOD_NET_REPLIES_H
#define ECHOD_NET_REPLIES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>

struct evbuffer;
struct promises;
struct stream;

/* A stream that something is promised to. */
struct waiter {
	LIST_ENTRY(waiter) entry;
	struct stream *stream;
};

LIST_HEAD(waiters, waiter);

#define REPLIES_GATHERED 4096 /* bytes */

/* replies.high of a client, unless it is a stranger. */
#define REPLIES_HIGH (128u * 1024)

struct replies {
	struct evbuffer *out;
	struct promises **promises; /* of the stream; *promises is NULL while nothing is promised */
	size_t high;    /* while more bytes than this are unsent, messages are not answered */
	size_t unsent;  /* bytes that the client has not been sent yet, these replies among them */
	size_t length;  /* of `bytes` */
	bool promising; /* what is added belongs to the last promise */
	bool lost;      /* out of memory: a reply is missing, the stream has to be reset */
	char bytes[REPLIES_GATHERED];
};

void replies_begin(struct replies *replies, struct evbuffer *out, struct promises **promises);

/* A reply, or a part of one, that is known now. */
void replies_add(struct replies *replies, const void *bytes, size_t length);
void replies_text(struct replies *replies, const char *text);
/* Adds the bytes and a line feed. */
void replies_line(struct replies *replies, const void *bytes, size_t length);

/* Room for `most` bytes, at most REPLIES_GATHERED. The caller writes some and counts them by replies_added(). */
char *replies_room(struct replies *replies, size_t most);
static inline void replies_added(struct replies *replies, size_t length)
{
	replies->length += length;
	replies->unsent += length;
}

/*
 * Keeps the place of a reply that waits for a commit. If the commit works, the reply is `likely`, a constant text.
 * Commits are numbered from 1, in their order.
 */
void replies_promise(struct replies *replies, uint64_t commit, const char *likely);
/* The same of a reply that is added in parts, between these two calls. */
void replies_promise_begin(struct replies *replies, uint64_t commit);
void replies_promise_end(struct replies *replies);

/* Passes on what has been gathered. Must be called before anything else is added to the output. */
void replies_flush(struct replies *replies);

/* Makes the stream, which the promises belong to, one of the waiters until the promises are freed. */
void promises_join(struct promises *promises, struct waiters *waiters, struct stream *stream);

/* Moves the bytes behind the last promise and what is known behind it. 0, or -1 when out of memory. */
int promises_append(struct promises *promises, struct evbuffer *bytes);

/* Bytes of promises and of what is behind them. */
size_t promises_unsent(const struct promises *promises);

/*
 * Moves to `out` what is known now, from the front on: the promises of commits up to `committed` are kept, all others
 * up to `through` are replaced by `failure`. Frees *promises when it is empty. 0, or -1 when out of memory.
 */
int promises_resolve(struct promises **promises, struct evbuffer *out, uint64_t committed,
    uint64_t through, const char *failure);

/* NULL is fine. */
void promises_free(struct promises *promises);

#endif
