/* The ring, and the walks: each knows its next client, and is moved on when that one goes. */
#include "net/client.h"

#include <stddef.h>

#include "net/loop.h"
#include "net/stream.h"

struct client *clients_left_add(struct clients_left *left)
{
	return &left->ring[left->count++ % CLIENTS_LEFT];
}

const struct client *clients_left_get(const struct clients_left *left, uint64_t n)
{
	if (n >= left->count || n >= CLIENTS_LEFT)
		return NULL;
	return &left->ring[(left->count - 1 - n) % CLIENTS_LEFT];
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
