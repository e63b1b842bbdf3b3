/* Holds are allocated while they last: a client that waits for nothing pays a pointer. */
#include "services/kv_hold.h"

#include <event2/buffer.h>
#include <stdlib.h>
#include <string.h>

#include "net/stream.h"

/* Replies in a row that rest on the same commit. */
struct held_replies {
	uint64_t commit;
	size_t begin, end; /* in the output */
	size_t count;
};

struct hold {
	LIST_ENTRY(hold) entry;
	struct stream *stream;
	struct hold **place; /* where its client keeps it */
	uint64_t commit;     /* the latest that it waits for */
	size_t count, capacity;
	struct held_replies *replies;
};

static struct hold *hold_new(struct holds *holds, struct hold **place, struct stream *stream)
{
	struct hold *hold = calloc(1, sizeof(*hold));

	if (hold == NULL)
		return NULL;
	hold->stream = stream;
	hold->place = place;
	LIST_INSERT_HEAD(&holds->waiting, hold, entry);
	return hold;
}

static int make_room(struct hold *hold)
{
	size_t capacity = hold->capacity == 0 ? 4 : 2 * hold->capacity;
	struct held_replies *larger;

	if (hold->count < hold->capacity)
		return 0;
	larger = realloc(hold->replies, capacity * sizeof(*larger));
	if (larger == NULL)
		return -1;
	hold->replies = larger;
	hold->capacity = capacity;
	return 0;
}

int hold_reply(struct holds *holds, struct hold **hold, struct stream *stream, uint64_t commit,
    size_t begin, size_t end)
{
	struct hold *h = *hold;
	struct held_replies *last;

	if (h == NULL && (h = *hold = hold_new(holds, hold, stream)) == NULL)
		return -1;
	last = h->count == 0 ? NULL : &h->replies[h->count - 1];
	if (last != NULL && last->commit == commit && last->end == begin) {
		last->end = end;
		last->count++;
		return 0;
	}
	if (make_room(h) == -1)
		return -1;
	h->replies[h->count++] = (struct held_replies){ commit, begin, end, 1 };
	if (commit > h->commit)
		h->commit = commit;
	return 0;
}

void hold_forget(struct hold *hold)
{
	if (hold == NULL)
		return;
	*hold->place = NULL;
	LIST_REMOVE(hold, entry);
	free(hold->replies);
	free(hold);
}

static int add_times(struct evbuffer *to, const char *text, size_t times)
{
	while (times-- > 0)
		if (evbuffer_add(to, text, strlen(text)) == -1)
			return -1;
	return 0;
}

/* Exchanges the replies behind the last safe commit. 0, or -1 when out of memory. */
static int take_back(
    const struct hold *hold, struct evbuffer *out, uint64_t safe, const char *failure)
{
	struct evbuffer *kept = evbuffer_new();
	size_t at = 0;
	int result = 0;

	if (kept == NULL)
		return -1;
	for (size_t i = 0; i < hold->count && result == 0; i++) {
		const struct held_replies *replies = &hold->replies[i];

		if (replies->commit <= safe)
			continue;
		if (evbuffer_remove_buffer(out, kept, replies->begin - at) == -1 ||
		    evbuffer_drain(out, replies->end - replies->begin) == -1 ||
		    add_times(kept, failure, replies->count) == -1)
			result = -1;
		at = replies->end;
	}
	if (result == 0 && evbuffer_prepend_buffer(out, kept) == -1)
		result = -1;
	evbuffer_free(kept);
	return result;
}

static void release(struct hold *hold, uint64_t safe, const char *failure)
{
	struct stream *stream = hold->stream;
	enum verdict verdict = VERDICT_CONTINUE;

	if (hold->commit > safe && take_back(hold, stream_held_output(stream), safe, failure) == -1)
		verdict = VERDICT_ABORT;
	hold_forget(hold); /* first, for the client may go on to its next one */
	stream_release(stream, verdict);
}

/* A release may end any client, and begin holds that are not for this call. */
static void move(struct hold_list *from, struct hold_list *to, uint64_t commit)
{
	struct hold *hold, *next;

	for (hold = LIST_FIRST(from); hold != NULL; hold = next) {
		next = LIST_NEXT(hold, entry);
		if (hold->commit > commit)
			continue;
		LIST_REMOVE(hold, entry);
		LIST_INSERT_HEAD(to, hold, entry);
	}
}

void holds_settle(struct holds *holds, uint64_t commit, bool safe, const char *failure)
{
	struct hold_list settled = LIST_HEAD_INITIALIZER(settled);
	struct hold *hold;

	if (safe)
		holds->safe = commit;
	move(&holds->waiting, &settled, commit);
	while ((hold = LIST_FIRST(&settled)) != NULL)
		release(hold, holds->safe, failure);
}
