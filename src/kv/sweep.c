/*
 * When many of the keys of a slice have expired, the next one follows soon, otherwise after twice the pause before. A
 * table whose keys expire evenly is swept all the time, at the slowest pace; the expired keys that it then holds are
 * those of one pass, so few that another pace would find few as well.
 */
#include "kv/sweep.h"

#include <stdbool.h>
#include <stddef.h>

#include "core/clock.h"
#include "kv/batch.h"
#include "kv/keyspace.h"

#define SLICE_US 400
#define BUCKETS 8 /* between two looks at the clock */
#define MANY 10   /* one in so many */

#define PAUSE_MIN 1 /* ms */
#define PAUSE_MAX 100
#define READ_ONLY_PAUSE 1000
#define REST_MAX 60000 /* ms: the clock may be set forward meanwhile */

#define BATCH_HIGH ((size_t)1 << 20) /* with an open batch of more bytes, the disk comes first */

void sweep_init(struct sweep *sweep)
{
	*sweep = (struct sweep){ .pause = PAUSE_MIN };
}

int64_t sweep_wait(const struct sweep *sweep, struct keyspace *keyspace)
{
	int64_t pause = sweep->next - clock_ms(), rest = 0;

	if (sweep->cursor == 0) {
		if (keyspace->earliest == INT64_MAX)
			return -1;
		rest = keyspace->earliest - keyspace_now(keyspace);
	}
	if (rest < pause)
		rest = pause;
	return rest < 0 ? 0 : rest < REST_MAX ? rest : REST_MAX;
}

struct visit {
	struct sweep *sweep;
	struct keyspace *keyspace;
	size_t expiring; /* keys */
};

/* Lists the expired keys of a bucket: the table must not change meanwhile. */
static int visit_key(void *arg, const struct slice *key, const struct item *item)
{
	struct visit *visit = arg;

	if (item->expires == 0)
		return 0;
	visit->expiring++;
	if (item->expires > keyspace_now(visit->keyspace) ||
	    list_add(&visit->keyspace->list, KV_KEY, *key) == -1)
		visit->sweep->left =
		    item->expires < visit->sweep->left ? item->expires : visit->sweep->left;
	return 0;
}

/* Deletes the listed keys, and returns how many. */
static size_t delete_listed(struct sweep *sweep, struct keyspace *keyspace)
{
	struct list_item item;
	size_t at = 0, deleted = 0;

	while (list_next(&keyspace->list, &at, &item)) {
		struct table_key key = keyspace_key(keyspace, item.bytes);

		if (keyspace_expire(keyspace, &key))
			deleted++;
		else
			sweep->left = 0;
	}
	list_clear(&keyspace->list);
	return deleted;
}

void sweep_run(struct sweep *sweep, struct keyspace *keyspace)
{
	struct visit visit = { .sweep = sweep, .keyspace = keyspace };
	int64_t end = clock_us() + SLICE_US;
	size_t deleted = 0;

	if (keyspace->read_only) {
		sweep->next = clock_ms() + READ_ONLY_PAUSE;
		return;
	}
	if (sweep->cursor == 0)
		sweep->left = keyspace->earliest = INT64_MAX;
	list_clear(&keyspace->list);
	do {
		for (int i = 0; i == 0 || (i < BUCKETS && sweep->cursor != 0); i++) {
			sweep->cursor =
			    table_scan(keyspace->table, sweep->cursor, visit_key, &visit);
			deleted += delete_listed(sweep, keyspace);
		}
	} while (sweep->cursor != 0 && clock_us() < end &&
		 (keyspace->open == NULL || keyspace->open->frame.length < BATCH_HIGH));
	if (sweep->cursor == 0 && sweep->left < keyspace->earliest)
		keyspace->earliest = sweep->left;
	if (deleted > 0 && deleted >= visit.expiring / MANY)
		sweep->pause = PAUSE_MIN;
	else
		sweep->pause = sweep->pause * 2 < PAUSE_MAX ? sweep->pause * 2 : (int64_t)PAUSE_MAX;
	sweep->next = clock_ms() + sweep->pause;
}
