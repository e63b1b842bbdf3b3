/* The rings, and the walks: each knows its next client, and is moved on when that one goes. */
#include "net/client.h"

#include <stddef.h>

#include "net/instance.h"
#include "net/loop.h"
#include "net/stream.h"

struct client *clients_left_add(struct clients_left *left, bool refused)
{
	uint64_t place = left->refused % CLIENTS_REFUSED;

	if (refused) {
		left->before[place] = left->count;
		left->refused++;
		return &left->refused_ring[place];
	}
	return &left->ring[left->count++ % CLIENTS_LEFT];
}

const struct client *clients_left_next(
    const struct clients_left *left, struct clients_left_walk *walk)
{
	bool any = walk->seen < left->count && walk->seen < CLIENTS_LEFT;
	bool any_refused =
	    walk->seen_refused < left->refused && walk->seen_refused < CLIENTS_REFUSED;
	uint64_t next = (left->refused - 1 - walk->seen_refused) % CLIENTS_REFUSED;

	if (any_refused && (!any || left->before[next] >= left->count - walk->seen)) {
		walk->seen_refused++;
		return &left->refused_ring[next];
	}
	return any ? &left->ring[(left->count - 1 - walk->seen++) % CLIENTS_LEFT] : NULL;
}

static void enter(struct client_walk *walk, struct instance *instance)
{
	walk->instance = instance;
	walk->next = instance == NULL ? NULL : TAILQ_FIRST(&instance->streams);
}

void client_walk_begin(struct client_walk *walk, struct loop *loop)
{
	enter(walk, TAILQ_FIRST(&loop->instances));
	LIST_INSERT_HEAD(&loop->walks, walk, entry);
}

struct stream *client_walk_next(struct client_walk *walk)
{
	struct stream *stream;

	while (walk->next == NULL && walk->instance != NULL)
		enter(walk, TAILQ_NEXT(walk->instance, entry));
	stream = walk->next;
	if (stream != NULL)
		walk->next = stream_next(stream);
	return stream;
}

void client_walk_end(struct client_walk *walk)
{
	LIST_REMOVE(walk, entry);
}

void client_walks_pass_stream(struct loop *loop, const struct stream *stream)
{
	struct client_walk *walk;

	LIST_FOREACH (walk, &loop->walks, entry)
		if (walk->next == stream)
			walk->next = stream_next(stream);
}

void client_walks_pass_instance(struct loop *loop, const struct instance *instance)
{
	struct client_walk *walk;

	LIST_FOREACH (walk, &loop->walks, entry)
		if (walk->instance == instance)
			enter(walk, TAILQ_NEXT(walk->instance, entry));
}
