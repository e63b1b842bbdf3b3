/* A change is in the batch, in the undos and in the table, or in none of them. */
#include "kv/keyspace.h"

#include "kv/batch.h"
#include "kv/change.h"

/* After a rollback that has run out of memory, the table has values that were never committed. */
static void note_commit(struct keyspace *keyspace, uint64_t commit)
{
	if (commit > keyspace->commit)
		keyspace->commit = commit;
	if (commit != 0 && keyspace->undoing)
		keyspace->refusal = KV_UNAVAILABLE;
}

bool keyspace_get(struct keyspace *keyspace, const struct table_key *key, struct item *item)
{
	if (keyspace->uncommitted.count > 0)
		note_commit(keyspace, uncommitted_commit(&keyspace->uncommitted, key));
	return table_get(keyspace->table, key, item) == 0;
}

/* Remembers the key's present value. 0, or -1 when out of memory. */
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

/* Puts the change into the open batch, and an undo unless the batch has one of that key. 0, or -1 when out of memory. */
static int log_change(
    struct keyspace *keyspace, const struct table_key *key, const struct change *change, bool *undo)
{
	if (keyspace->open == NULL) {
		keyspace->open = batch_new(keyspace->last_commit + 1);
		if (keyspace->open == NULL)
			return -1;
		keyspace->last_commit++;
	}
	if (batch_add(keyspace->open, change) == -1)
		return -1;
	*undo = keyspace->undoable &&
		uncommitted_commit(&keyspace->uncommitted, key) != keyspace->open->commit;
	if (!*undo || add_undo(keyspace, key) == 0)
		return 0;
	batch_remove_last(keyspace->open, change);
	return -1;
}

/* Of a keyspace that is logged: sets the key, or deletes it when there is no item. 0, or -1 with the refusal. */
static int change_key(
    struct keyspace *keyspace, const struct table_key *key, const struct item *item)
{
	struct change change = { .key = { key->bytes, key->length }, .deletion = item == NULL };
	bool undo;

	keyspace->refusal = keyspace->read_only ? KV_UNAVAILABLE : KV_FULL;
	if (item != NULL)
		change.item = *item;
	if ((keyspace->read_only && !(keyspace->deletes && item == NULL)) ||
	    log_change(keyspace, key, &change, &undo) == -1)
		return -1;
	if ((item == NULL ? table_delete(keyspace->table, key)
			  : table_set(keyspace->table, key, item)) == -1) {
		if (undo)
			drop_undo(keyspace, keyspace->open);
		batch_remove_last(keyspace->open, &change);
		return -1;
	}
	keyspace->refusal = KV_OK;
	keyspace->changed = true;
	if (keyspace->undoable)
		keyspace->commit = keyspace->open->commit;
	return 0;
}

int keyspace_put(struct keyspace *keyspace, const struct table_key *key, const struct item *item)
{
	if (keyspace->logged)
		return change_key(keyspace, key, item);
	if (table_set(keyspace->table, key, item) == 0)
		return 0;
	keyspace->refusal = KV_FULL;
	return -1;
}

bool keyspace_delete(struct keyspace *keyspace, const struct table_key *key)
{
	struct item item;

	if (!keyspace->logged)
		return table_delete(keyspace->table, key) == 0;
	return keyspace_get(keyspace, key, &item) && change_key(keyspace, key, NULL) == 0;
}

void keyspace_committed(struct keyspace *keyspace, struct batch *batch)
{
	for (const struct undo *undo = batch->undo; undo != NULL; undo = undo->before)
		uncommitted_remove(&keyspace->uncommitted, undo);
	batch_free(batch);
}

bool keyspace_roll_back(struct keyspace *keyspace, struct batch **batch)
{
	/* What was there before needs no permission. */
	size_t limit = table_set_max_memory(keyspace->table, 0);
	const struct undo *undo;
	int done = 0;

	while (done == 0 && *batch != NULL && (undo = (*batch)->undo) != NULL) {
		if (!undo->existed)
			table_delete(keyspace->table, &undo->key);
		else
			done = table_set(keyspace->table, &undo->key, &undo->item);
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
}
