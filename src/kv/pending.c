/* A chained hash of undos, the newest of a key first; it never shrinks, for it is short of keys anyway. */
#include "kv/pending.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE 256

static struct undo **place_of(const struct pending *pending, uint64_t hash)
{
	return &pending->places[hash & (pending->size - 1)];
}

void pending_clear(struct pending *pending)
{
	free(pending->places);
	*pending = (struct pending){ 0 };
}

uint64_t pending_commit(const struct pending *pending, const struct table_key *key)
{
	const struct undo *undo;

	if (pending->count == 0)
		return 0;
	for (undo = *place_of(pending, key->hash); undo != NULL; undo = undo->next)
		if (undo->key.hash == key->hash && undo->key.length == key->length &&
		    memcmp(undo->key.bytes, key->bytes, key->length) == 0)
			return undo->commit;
	return 0;
}

/* Appends, so that of one key the newest stays first. */
static void move_chain(struct pending *to, struct undo *undo)
{
	while (undo != NULL) {
		struct undo *next = undo->next, **end = place_of(to, undo->key.hash);

		while (*end != NULL)
			end = &(*end)->next;
		undo->next = NULL;
		*end = undo;
		undo = next;
	}
}

int pending_reserve(struct pending *pending)
{
	struct pending larger = { .count = pending->count };

	if (pending->count < pending->size)
		return 0;
	larger.size = pending->size == 0 ? FIRST_SIZE : 2 * pending->size;
	larger.places = calloc(larger.size, sizeof(struct undo *));
	if (larger.places == NULL)
		return -1;
	for (size_t i = 0; i < pending->size; i++)
		move_chain(&larger, pending->places[i]);
	free(pending->places);
	*pending = larger;
	return 0;
}

void pending_add(struct pending *pending, struct undo *undo)
{
	struct undo **place = place_of(pending, undo->key.hash);

	undo->next = *place;
	*place = undo;
	pending->count++;
}

void pending_remove(struct pending *pending, const struct undo *undo)
{
	struct undo **at = place_of(pending, undo->key.hash);

	while (*at != undo)
		at = &(*at)->next;
	*at = undo->next;
	pending->count--;
}
