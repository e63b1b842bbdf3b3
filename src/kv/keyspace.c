/* A change is in the batch, in the undos and in the table, or in none of them. */
#include "kv/keyspace.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "core/clock.h"
#include "kv/batch.h"
#include "kv/change.h"

#define EVICTIONS_MAX 1000 /* by one change: about half a millisecond */

int64_t keyspace_now(struct keyspace *keyspace)
{
	if (keyspace->now == 0)
		keyspace->now = clock_wall_ms();
	return keyspace->now;
}

static bool has_expired(struct keyspace *keyspace, const struct item *item)
{
	return item->expires != 0 && item->expires <= keyspace_now(keyspace);
}

struct list *keyspace_list(struct keyspace *keyspace)
{
	list_clear(&keyspace->list);
	return &keyspace->list;
}

struct table_key keyspace_key(const struct keyspace *keyspace, struct slice bytes)
{
	struct table_key key = { bytes.bytes, bytes.length, 0 };

	table_hash_and_prefetch(keyspace->table, &key);
	return key;
}

/* After a rollback that has run out of memory, the table has values that were never committed. */
static void note_commit(struct keyspace *keyspace, uint64_t commit)
{
	if (commit > keyspace->commit)
		keyspace->commit = commit;
	if (commit != 0 && keyspace->undoing)
		keyspace->refusal = KV_UNAVAILABLE;
}

/* --- changes --- */

/* Remembers the key's present item. 0, or -1 when out of memory. */
static int add_undo(struct keyspace *keyspace, const struct table_key *key)
{
	struct item item;
	bool exists = table_get(keyspace->table, key, &item) == 0;
	struct undo *undo;

	if (uncommitted_reserve(&keyspace->uncommitted) == -1)
		return -1;
	undo = batch_add_undo(keyspace->open, key, exists ? &item : NULL);
	if (undo == NULL)
		return -1;
	uncommitted_add(&keyspace->uncommitted, undo);
	return 0;
}

static void drop_undo(struct keyspace *keyspace, struct batch *batch)
{
	uncommitted_remove(&keyspace->uncommitted, batch->undo);
	batch_remove_undo(batch);
}

/* A change in the open batch that is not in the table yet. */
struct logged {
	struct change change;
	bool undo; /* it has added one */
};

/*
 * Puts a change (item NULL = deletion) into the open batch, and an undo unless that has one of the key or none is
 * wanted. 0, or -1 with the refusal, and errno, which is not ENOSPC. A keyspace that is not logged has nothing to do.
 */
static int log_change(struct keyspace *keyspace, const struct table_key *key,
    const struct item *item, bool undoable, struct logged *logged)
{
	if (!keyspace->logged)
		return 0;
	if (keyspace->read_only && !(keyspace->deletes && item == NULL)) {
		keyspace->refusal = KV_UNAVAILABLE;
		errno = EROFS;
		return -1;
	}
	logged->change =
	    (struct change){ .key = { key->bytes, key->length }, .deletion = item == NULL };
	if (item != NULL)
		logged->change.item = *item;
	if (keyspace->open == NULL) {
		keyspace->open = batch_new(keyspace->last_commit + 1);
		if (keyspace->open == NULL)
			goto full;
		keyspace->last_commit++;
	}
	if (batch_add(keyspace->open, &logged->change) == -1)
		goto full;
	logged->undo =
	    undoable && uncommitted_commit(&keyspace->uncommitted, key) != keyspace->open->commit;
	if (!logged->undo || add_undo(keyspace, key) == 0)
		return 0;
	batch_remove_last(keyspace->open, &logged->change);
full:
	keyspace->refusal = KV_FULL;
	errno = ENOMEM;
	return -1;
}

/* Undoes the last log_change(). */
static void unlog_change(struct keyspace *keyspace, const struct logged *logged)
{
	if (!keyspace->logged)
		return;
	if (logged->undo)
		drop_undo(keyspace, keyspace->open);
	batch_remove_last(keyspace->open, &logged->change);
}

/* The change is in the table. */
static void note_change(struct keyspace *keyspace)
{
	keyspace->changed |= keyspace->logged;
	if (keyspace->undoable)
		keyspace->commit = keyspace->open->commit;
}

static void count_change(struct keyspace *keyspace, const struct table_key *key)
{
	if (keyspace->watches.count > 0)
		watches_count(&keyspace->watches, key);
}

static void delete_item(struct keyspace *keyspace, const struct table_key *key)
{
	count_change(keyspace, key);
	table_delete(keyspace->table, key);
}

static int set_item(struct keyspace *keyspace, const struct table_key *key, const struct item *item)
{
	if (table_set(keyspace->table, key, item) == -1)
		return -1;
	count_change(keyspace, key);
	if (item->expires != 0 && item->expires < keyspace->earliest) {
		keyspace->earliest = item->expires;
		keyspace->sooner = true;
	}
	return 0;
}

/* --- eviction --- */

bool keyspace_evict(struct keyspace *keyspace)
{
	struct table_key victim;
	struct logged logged;

	if (table_victim(keyspace->table, &victim) == -1 ||
	    log_change(keyspace, &victim, NULL, keyspace->undoable, &logged) == -1)
		return false;
	delete_item(keyspace, &victim);
	note_change(keyspace);
	keyspace->evictions++;
	return true;
}

/* A change that sets an item, for which keys may have to be evicted. */
struct attempt {
	enum kv_status refusal; /* before it */
	size_t evictions;
	struct item item;
	char *value; /* its copy, for it may be in the table and end with the first eviction */
};

/*
 * Evicts a key for a change that has failed with that errno, and has been taken back, so that the eviction is logged
 * before it. Returns the item to try again with; NULL = the change fails.
 */
static const struct item *evict_for(
    struct keyspace *keyspace, struct attempt *attempt, const struct item *item)
{
	if (errno != ENOSPC || !keyspace->evicts || attempt->evictions++ == EVICTIONS_MAX)
		return NULL;
	if (attempt->value == NULL) {
		attempt->value = malloc(item->value.length + 1);
		if (attempt->value == NULL)
			return NULL;
		if (item->value.length > 0)
			memcpy(attempt->value, item->value.bytes, item->value.length);
		attempt->item = *item;
		attempt->item.value.bytes = attempt->value;
	}
	if (!keyspace_evict(keyspace))
		return NULL;
	keyspace->refusal = attempt->refusal;
	return &attempt->item;
}

static int put_once(struct keyspace *keyspace, const struct table_key *key, const struct item *item)
{
	struct logged logged;

	if (keyspace->logged && log_change(keyspace, key, item, keyspace->undoable, &logged) == -1)
		return -1;
	if (set_item(keyspace, key, item) == -1) {
		unlog_change(keyspace, &logged); /* keeps errno */
		keyspace->refusal = KV_FULL;
		return -1;
	}
	if (keyspace->logged)
		note_change(keyspace);
	return 0;
}

int keyspace_put(struct keyspace *keyspace, const struct table_key *key, const struct item *item)
{
	struct attempt attempt = { .refusal = keyspace->refusal };
	int done = put_once(keyspace, key, item);

	while (done == -1 && (item = evict_for(keyspace, &attempt, item)) != NULL)
		done = put_once(keyspace, key, item);
	free(attempt.value);
	return done;
}

int keyspace_put_back(
    struct keyspace *keyspace, const struct table_key *key, const struct item *item)
{
	size_t limit = table_set_max_memory(keyspace->table, 0);
	int done = put_once(keyspace, key, item);

	table_set_max_memory(keyspace->table, limit);
	return done;
}

bool keyspace_delete(struct keyspace *keyspace, const struct table_key *key)
{
	struct logged logged;
	struct item item;

	if (!keyspace_get(keyspace, key, &item) ||
	    log_change(keyspace, key, NULL, keyspace->undoable, &logged) == -1)
		return false;
	delete_item(keyspace, key);
	note_change(keyspace);
	return true;
}

static int rename_once(struct keyspace *keyspace, const struct table_key *from,
    const struct item *item, const struct table_key *to)
{
	struct logged put, deletion;

	if (log_change(keyspace, to, item, keyspace->undoable, &put) == -1)
		return -1;
	if (log_change(keyspace, from, NULL, keyspace->undoable, &deletion) == -1) {
		unlog_change(keyspace, &put);
		return -1;
	}
	if (set_item(keyspace, to, item) == 0) {
		delete_item(keyspace, from);
		note_change(keyspace);
		return 0;
	}
	unlog_change(keyspace, &deletion);
	unlog_change(keyspace, &put);
	keyspace->refusal = KV_FULL;
	return -1;
}

int keyspace_rename(struct keyspace *keyspace, const struct table_key *from,
    const struct item *item, const struct table_key *to)
{
	struct attempt attempt = { .refusal = keyspace->refusal };
	int done = rename_once(keyspace, from, item, to);

	while (done == -1 && (item = evict_for(keyspace, &attempt, item)) != NULL)
		done = rename_once(keyspace, from, item, to);
	free(attempt.value);
	return done;
}

bool keyspace_expire(struct keyspace *keyspace, const struct table_key *key)
{
	enum kv_status refusal = keyspace->refusal;
	struct logged logged;
	bool done = !keyspace->read_only && log_change(keyspace, key, NULL, false, &logged) == 0;

	keyspace->refusal = refusal;
	if (!done)
		return false;
	delete_item(keyspace, key);
	keyspace->changed |= keyspace->logged;
	return true;
}

/* --- reads --- */

static bool __attribute__((noinline))
expire_if_due(struct keyspace *keyspace, const struct table_key *key, const struct item *item)
{
	if (!has_expired(keyspace, item))
		return false;
	keyspace_expire(keyspace, key);
	return true;
}

bool keyspace_get(struct keyspace *keyspace, const struct table_key *key, struct item *item)
{
	if (keyspace->uncommitted.count > 0)
		note_commit(keyspace, uncommitted_commit(&keyspace->uncommitted, key));
	if (table_get(keyspace->table, key, item) == 0 &&
	    (item->expires == 0 || !expire_if_due(keyspace, key, item)))
		return true;
	*item = (struct item){ 0 }; /* it may be that of another key with the same tag */
	return false;
}

/* The commit that all changes rest on. */
static uint64_t newest_commit(const struct keyspace *keyspace)
{
	if (keyspace->uncommitted.count == 0)
		return 0;
	/* An open batch without undos has failed to take its first change, and may never be committed. */
	return keyspace->last_commit - (keyspace->open != NULL && keyspace->open->undo == NULL);
}

size_t keyspace_count(struct keyspace *keyspace)
{
	struct table_stats stats;

	note_commit(keyspace, newest_commit(keyspace));
	table_stats(keyspace->table, &stats);
	return stats.entries;
}

struct visitor {
	struct keyspace *keyspace;
	int (*each)(void *arg, const struct slice *key, const struct item *item);
	void *arg;
};

static int visit(void *arg, const struct slice *key, const struct item *item)
{
	struct visitor *visitor = arg;

	return has_expired(visitor->keyspace, item) ? 0 : visitor->each(visitor->arg, key, item);
}

uint64_t keyspace_scan(struct keyspace *keyspace, uint64_t cursor,
    int (*each)(void *arg, const struct slice *key, const struct item *item), void *arg)
{
	struct visitor visitor = { keyspace, each, arg };

	note_commit(keyspace, newest_commit(keyspace));
	return table_scan(keyspace->table, cursor, visit, &visitor);
}

/* --- watches --- */

struct watch *keyspace_watch(struct keyspace *keyspace, struct slice bytes, uint64_t *changes)
{
	struct table_key key = keyspace_key(keyspace, bytes);
	struct watch *watch;
	struct item item;

	keyspace_get(keyspace, &key, &item); /* what has expired by now is not a change */
	watch = watches_add(&keyspace->watches, &key);
	if (watch != NULL)
		*changes = watch->changes;
	return watch;
}

bool keyspace_has_changed(struct keyspace *keyspace, const struct watch *watch, uint64_t changes)
{
	struct item item;

	keyspace_get(keyspace, &watch->key, &item);
	return watch->changes != changes;
}

/* --- commits --- */

void keyspace_committed(struct keyspace *keyspace, struct batch *batch)
{
	for (const struct undo *undo = batch->undo; undo != NULL; undo = undo->before)
		uncommitted_remove(&keyspace->uncommitted, undo);
	batch_free(batch);
}

bool keyspace_roll_back(struct keyspace *keyspace, struct batch **batch)
{
	/* The former items are restored whatever the limit is. */
	size_t limit = table_set_max_memory(keyspace->table, 0);
	const struct undo *undo;
	int done = 0;

	while (done == 0 && *batch != NULL && (undo = (*batch)->undo) != NULL) {
		if (!undo->existed)
			delete_item(keyspace, &undo->key);
		else
			done = set_item(keyspace, &undo->key, &undo->item);
		if (done == 0)
			drop_undo(keyspace, *batch);
	}
	table_set_max_memory(keyspace->table, limit);
	if (done == -1)
		return false;
	batch_free(*batch);
	*batch = NULL;
	return true;
}

void keyspace_clear(struct keyspace *keyspace)
{
	uncommitted_clear(&keyspace->uncommitted);
	table_free(keyspace->table);
	keyspace->table = NULL;
	list_free(&keyspace->list);
}
