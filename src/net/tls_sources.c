/*
 * Nobody says when a file has been written to its end. One that has not changed for a second is taken for whole; and if it
 * is not, its certificate and key do not fit together, and the next change is awaited.
 */
#include "net/tls_sources.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"

#define REST_MS 1000

int tls_sources_add(
    struct tls_sources *sources, enum tls_role role, const char *path, const struct tls_pem *pem)
{
	struct tls_source *items =
	    reallocarray(sources->items, sources->count + 1, sizeof(*sources->items));

	if (items == NULL)
		return -1;
	sources->items = items;
	items += sources->count;
	*items = (struct tls_source){ .role = role, .path = strdup(path), .seen = pem->stamp };
	memcpy(items->digest, pem->digest, sizeof(items->digest));
	if (items->path == NULL)
		return -1;
	sources->count++;
	return 0;
}

void tls_sources_clear(struct tls_sources *sources)
{
	for (size_t i = 0; i < sources->count; i++)
		free(sources->items[i].path);
	free(sources->items);
	*sources = (struct tls_sources){ 0 };
}

const char *tls_sources_path(const struct tls_sources *sources, enum tls_role role)
{
	size_t i = 0;

	while (sources->items[i].role != role)
		i++;
	return sources->items[i].path;
}

static bool is_same(const struct tls_source *a, const struct tls_source *b)
{
	return a->role == b->role && memcmp(a->digest, b->digest, sizeof(a->digest)) == 0;
}

bool tls_sources_have(const struct tls_sources *sources, const struct tls_source *source)
{
	for (size_t i = 0; i < sources->count; i++)
		if (is_same(&sources->items[i], source))
			return true;
	return false;
}

bool tls_sources_equal(const struct tls_sources *a, const struct tls_sources *b)
{
	size_t i = 0;

	if (a->count != b->count)
		return false;
	while (i < a->count && is_same(&a->items[i], &b->items[i]) &&
	       strcmp(a->items[i].path, b->items[i].path) == 0)
		i++;
	return i == a->count;
}

void tls_sources_refresh(struct tls_sources *sources, const struct tls_sources *later)
{
	for (size_t i = 0; i < sources->count; i++)
		sources->items[i].seen = later->items[i].seen;
}

/* Whether the file, whose stamp has changed, is left alone; a missing one is waited for until the next poll. */
static bool is_at_rest(struct tls_source *source, const struct tls_stamp *now)
{
	int64_t changed = now->changed.tv_sec * INT64_C(1000) + now->changed.tv_nsec / 1000000;
	int64_t age = clock_wall_ms() - changed;
	bool was_missing = source->is_missing;

	source->is_missing = now->inode == 0;
	if (source->is_missing)
		return was_missing;
	return age < 0 || age >= REST_MS; /* below 0: the clock has been set back */
}

enum tls_change tls_sources_poll(struct tls_sources *sources)
{
	enum tls_change change = TLS_SAME;
	struct tls_stamp now;

	for (size_t i = 0; i < sources->count; i++) {
		struct tls_source *source = &sources->items[i];

		tls_stamp_get(&now, source->path);
		if (tls_stamp_equal(&now, &source->seen))
			continue;
		if (!is_at_rest(source, &now))
			return TLS_CHANGING;
		change = TLS_CHANGED;
	}
	for (size_t i = 0; change == TLS_CHANGED && i < sources->count; i++)
		tls_stamp_get(&sources->items[i].seen, sources->items[i].path);
	return change;
}
