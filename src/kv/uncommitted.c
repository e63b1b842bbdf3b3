/* A chained hash table of undos, the newest of a key first. It never shrinks: a batch has few keys. */
#include "kv/uncommitted.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE 256

static struct undo **place_of(const struct uncommitted *uncommitted, uint64_t hash)
{
	return &uncommitted->places[hash & (uncommitted->size - 1)];
}

void uncommitted_clear(struct uncommitted *uncommitted)
{
	free(uncommitted->places);
	*uncommitted = (struct uncommitted){ 0 };
}

uint64_t uncommitted_commit(const struct uncommitted *uncommitted, const struct table_key *key)
{
	const struct undo *undo;

	if (uncommitted->count == 0)
		return 0;
	for (undo = *place_of(uncommitted, key->hash); undo != NULL; undo = undo->next)
		if (undo->key.hash == key->hash && undo->key.length == key->length &&
		    memcmp(undo->key.bytes, key->bytes, key->length) == 0)
			return undo->commit;
	return 0;
}

/* Appends each undo, so that the newest of a key stays first. */
static void move_chain(struct uncommitted *to, struct undo *undo)
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

int uncommitted_reserve(struct uncommitted *uncommitted)
{
	struct uncommitted larger = { .count = uncommitted->count };

	if (uncommitted->count < uncommitted->size)
		return 0;
	larger.size = uncommitted->size == 0 ? FIRST_SIZE : 2 * uncommitted->size;
	larger.places = calloc(larger.size, sizeof(struct undo *));
	if (larger.places == NULL)
		return -1;
	for (size_t i = 0; i < uncommitted->size; i++)
		move_chain(&larger, uncommitted->places[i]);
	free(uncommitted->places);
	*uncommitted = larger;
	return 0;
}

void uncommitted_add(struct uncommitted *uncommitted, struct undo *undo)
{
	struct undo **place = place_of(uncommitted, undo->key.hash);

	undo->next = *place;
	*place = undo;
	uncommitted->count++;
}

void uncommitted_remove(struct uncommitted *uncommitted, const struct undo *undo)
{
	struct undo **at = place_of(uncommitted, undo->key.hash);

	while (*at != undo)
		at = &(*at)->next;
	*at = undo->next;
	uncommitted->count--;
}
