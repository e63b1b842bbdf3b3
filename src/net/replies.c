/* Promises are a queue. The known bytes behind each of them lie in one buffer, which only exists while there are any. */
#include "net/replies.h"

#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>

#define PROMISES_INLINE 2

struct promise {
	uint64_t commit;
	const char *likely; /* NULL = the reply is the next `length` bytes of `behind` */
	size_t length;
	size_t count; /* such replies in a row */
	size_t known; /* bytes of `behind` that follow, and wait only for the place */
};

struct promises {
	struct waiter waiter;    /* its stream is NULL until it is in a list */
	struct evbuffer *behind; /* NULL = there is nothing */
	size_t unsent;           /* bytes of all replies, and of their places in the queue */
	size_t first, end, capacity;
	struct promise *queue; /* from `first` to before `end` */
	struct promise few[PROMISES_INLINE];
};

void replies_begin(struct replies *replies, struct evbuffer *out, struct promises **promises)
{
	replies->out = out;
	replies->promises = promises;
	replies->unsent = evbuffer_get_length(out);
	if (*promises != NULL)
		replies->unsent += (*promises)->unsent;
	replies->high = REPLIES_HIGH;
	replies->length = 0;
	replies->promising = replies->lost = false;
}

void promises_join(struct promises *promises, struct waiters *waiters, struct stream *stream)
{
	if (promises->waiter.stream != NULL)
		return;
	promises->waiter.stream = stream;
	LIST_INSERT_HEAD(waiters, &promises->waiter, entry);
}

size_t promises_unsent(const struct promises *promises)
{
	return promises->unsent;
}

/* Bytes of a reply: to the output, or behind the last promise. */
static void pass_on(struct replies *replies, const void *bytes, size_t length)
{
	struct promises *p = *replies->promises;
	struct promise *last = p == NULL ? NULL : &p->queue[p->end - 1];

	if (p == NULL) {
		replies->lost |= evbuffer_add(replies->out, bytes, length) == -1;
	} else {
		if (p->behind == NULL)
			p->behind = evbuffer_new();
		replies->lost |= p->behind == NULL || evbuffer_add(p->behind, bytes, length) == -1;
		*(replies->promising ? &last->length : &last->known) += length;
		p->unsent += length;
	}
}

int promises_append(struct promises *p, struct evbuffer *bytes)
{
	size_t length = evbuffer_get_length(bytes);

	if (length > 0 && evbuffer_pullup(bytes, -1) == NULL)
		return -1;
	if (p->behind == NULL && (p->behind = evbuffer_new()) == NULL)
		return -1;
	/* A copy: short pieces would each keep a chunk of memory that can be many times their size. */
	if (evbuffer_add(p->behind, evbuffer_pullup(bytes, -1), length) == -1)
		return -1;
	evbuffer_drain(bytes, length);
	p->queue[p->end - 1].known += length;
	p->unsent += length;
	return 0;
}

void replies_flush(struct replies *replies)
{
	if (replies->length > 0)
		pass_on(replies, replies->bytes, replies->length);
	replies->length = 0;
}

void replies_add(struct replies *replies, const void *bytes, size_t length)
{
	replies->unsent += length;
	if (length > sizeof(replies->bytes) - replies->length)
		replies_flush(replies);
	if (length > sizeof(replies->bytes)) {
		pass_on(replies, bytes, length);
	} else if (length > 0) {
		memcpy(replies->bytes + replies->length, bytes, length);
		replies->length += length;
	}
}

char *replies_room(struct replies *replies, size_t most)
{
	if (most > sizeof(replies->bytes) - replies->length)
		replies_flush(replies);
	return replies->bytes + replies->length;
}

void replies_text(struct replies *replies, const char *text)
{
	replies_add(replies, text, strlen(text));
}

void replies_line(struct replies *replies, const void *bytes, size_t length)
{
	if (length >= sizeof(replies->bytes) - replies->length) {
		replies_add(replies, bytes, length);
		replies_add(replies, "\n", 1);
		return;
	}
	if (length > 0)
		memcpy(replies->bytes + replies->length, bytes, length);
	replies->length += length;
	replies->bytes[replies->length++] = '\n';
	replies->unsent += length + 1;
}

/* The promises, with room for one more; NULL when out of memory. */
static struct promises *make_room(struct promises **promises)
{
	struct promises *p = *promises;
	struct promise *larger;

	if (p == NULL) {
		if ((p = calloc(1, sizeof(*p))) == NULL)
			return NULL;
		p->queue = p->few;
		p->capacity = PROMISES_INLINE;
		*promises = p;
	}
	if (p->end < p->capacity)
		return p;
	if (p->first > 0) {
		memmove(p->queue, p->queue + p->first, (p->end - p->first) * sizeof(*p->queue));
	} else {
		larger = realloc(
		    p->queue == p->few ? NULL : p->queue, 2 * p->capacity * sizeof(*p->queue));
		if (larger == NULL)
			return NULL;
		if (p->queue == p->few)
			memcpy(larger, p->few, sizeof(p->few));
		p->queue = larger;
		p->capacity *= 2;
	}
	p->end -= p->first;
	p->first = 0;
	return p;
}

/* The promise itself counts, too: thousands of short replies must not take memory without bound. */
static void count_promised(struct replies *replies, size_t length)
{
	(*replies->promises)->unsent += length;
	replies->unsent += length;
}

static void add_promise(struct replies *replies, uint64_t commit, const char *likely)
{
	struct promises *p;

	replies_flush(replies);
	p = make_room(replies->promises);
	if (p == NULL) {
		replies->lost = true;
		return;
	}
	p->queue[p->end++] = (struct promise){ .commit = commit,
		.likely = likely,
		.length = likely == NULL ? 0 : strlen(likely),
		.count = 1 };
	count_promised(replies, sizeof(struct promise) + p->queue[p->end - 1].length);
}

void replies_promise(struct replies *replies, uint64_t commit, const char *likely)
{
	struct promises *p = *replies->promises;
	struct promise *last = p == NULL ? NULL : &p->queue[p->end - 1];

	if (last != NULL && last->commit == commit && last->likely == likely && last->known == 0 &&
	    replies->length == 0) {
		last->count++;
		count_promised(replies, last->length);
	} else {
		add_promise(replies, commit, likely);
	}
}

void replies_promise_begin(struct replies *replies, uint64_t commit)
{
	add_promise(replies, commit, NULL);
	replies->promising = true;
}

void replies_promise_end(struct replies *replies)
{
	replies_flush(replies);
	replies->promising = false;
}

static int add_times(struct evbuffer *out, const char *text, size_t length, size_t times)
{
	char bytes[1024];
	size_t filled = 0;

	for (; times > 0; times--) {
		if (filled + length > sizeof(bytes)) {
			if (evbuffer_add(out, bytes, filled) == -1)
				return -1;
			filled = 0;
		}
		memcpy(bytes + filled, text, length);
		filled += length;
	}
	return evbuffer_add(out, bytes, filled);
}

/* Moves the reply of the first promise, or the failure, and what is known behind it to the output. */
static int resolve_first(
    struct promises *p, struct evbuffer *out, bool is_kept, const char *failure)
{
	const struct promise *first = &p->queue[p->first];
	size_t known = first->known;
	int result = 0;

	if (is_kept && first->likely == NULL)
		known +=
		    first->length; /* the bytes of the promise and those behind it lie together */
	else if (is_kept)
		result = add_times(out, first->likely, first->length, first->count);
	else
		result = add_times(out, failure, strlen(failure), first->count);
	if (!is_kept && first->likely == NULL && first->length > 0 &&
	    evbuffer_drain(p->behind, first->length) == -1)
		result = -1;
	if (known > 0 && evbuffer_remove_buffer(p->behind, out, known) != (int)known)
		result = -1;
	p->unsent -= sizeof(*first) + first->known +
		     first->length * (first->likely == NULL ? 1 : first->count);
	p->first++;
	return result;
}

int promises_resolve(struct promises **promises, struct evbuffer *out, uint64_t committed,
    uint64_t through, const char *failure)
{
	struct promises *p = *promises;
	int result = 0;

	if (p == NULL)
		return 0;
	while (p->first < p->end && result == 0) {
		uint64_t commit = p->queue[p->first].commit;

		if (commit > committed && commit > through)
			return 0;
		result = resolve_first(p, out, commit <= committed, failure);
	}
	if (result == 0) {
		promises_free(p);
		*promises = NULL;
	}
	return result;
}

void promises_free(struct promises *p)
{
	if (p == NULL)
		return;
	if (p->waiter.stream != NULL)
		LIST_REMOVE(&p->waiter, entry);
	if (p->behind != NULL)
		evbuffer_free(p->behind);
	if (p->queue != p->few)
		free(p->queue);
	free(p);
}
