/* A chained hash table, which grows and is freed with its last key. */
#include "kv/watches.h"

#include <stdlib.h>
#include <string.h>

#define FIRST_SIZE 64

static struct watch **place_of(const struct watches *watches, uint64_t hash)
{
	return &watches->places[hash & (watches->size - 1)];
}

static struct watch *find(const struct watches *watches, const struct table_key *key)
{
	struct watch *watch = watches->size == 0 ? NULL : *place_of(watches, key->hash);

	while (watch != NULL && (watch->key.hash != key->hash || watch->key.length != key->length ||
				    memcmp(watch->bytes, key->bytes, key->length) != 0))
		watch = watch->next;
	return watch;
}

/* Makes room for one more. 0, or -1 when out of memory. */
static int reserve(struct watches *watches)
{
	struct watches larger = { .count = watches->count };

	if (watches->count < watches->size)
		return 0;
	larger.size = watches->size == 0 ? FIRST_SIZE : 2 * watches->size;
	larger.places = calloc(larger.size, sizeof(struct watch *));
	if (larger.places == NULL)
		return -1;
	for (size_t i = 0; i < watches->size; i++) {
		struct watch *watch, *next;

		for (watch = watches->places[i]; watch != NULL; watch = next) {
			struct watch **place = place_of(&larger, watch->key.hash);

			next = watch->next;
			watch->next = *place;
			*place = watch;
		}
	}
	free(watches->places);
	*watches = larger;
	return 0;
}

struct watch *watches_add(struct watches *watches, const struct table_key *key)
{
	struct watch *watch = find(watches, key), **place;

	if (watch != NULL) {
		watch->watchers++;
		return watch;
	}
	watch = malloc(sizeof(*watch) + key->length);
	if (watch == NULL || reserve(watches) == -1) {
		free(watch);
		return NULL;
	}
	place = place_of(watches, key->hash);
	*watch = (struct watch){ .next = *place, .key = *key, .watchers = 1 };
	watch->key.bytes = watch->bytes;
	memcpy(watch->bytes, key->bytes, key->length);
	*place = watch;
	watches->count++;
	return watch;
}

void watches_remove(struct watches *watches, struct watch *watch)
{
	struct watch **at = place_of(watches, watch->key.hash);

	if (--watch->watchers > 0)
		return;
	while (*at != watch)
		at = &(*at)->next;
	*at = watch->next;
	free(watch);
	if (--watches->count > 0)
		return;
	free(watches->places);
	*watches = (struct watches){ 0 };
}

void watches_count(struct watches *watches, const struct table_key *key)
{
	struct watch *watch = find(watches, key);

	if (watch != NULL)
		watch->changes++;
}
