/* The engine over a keyspace, which it owns; with a directory, its commits make the changes durable. */
#include "kv/store.h"

#include <grp.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "kv/command.h"
#include "kv/commits.h"
#include "kv/directory.h"
#include "kv/engine.h"
#include "kv/keyspace.h"
#include "kv/loader.h"
#include "kv/sweep.h"

#define EVICTED_AT_ONCE 500

struct store {
	struct engine engine;
	struct engine_host host;
	struct keyspace keyspace;
	struct sweep sweep;
	struct commits *commits; /* NULL = the store is in memory only */
	size_t max_memory;
};

static enum engine_state store_state(const struct engine *engine, struct error *error)
{
	const struct store *store = (const struct store *)engine;

	return store->commits == NULL ? ENGINE_READY : commits_state(store->commits, error);
}

static void store_prepare(struct engine *engine, struct call *calls, size_t count)
{
	struct keyspace *keyspace = &((struct store *)engine)->keyspace;
	const struct table *table = keyspace->table;

	if (table == NULL)
		return; /* it is being loaded */
	if (!keyspace->in_transaction)
		keyspace->now = 0;
	for (size_t i = 0; i < count; i++)
		if (calls[i].status == KV_OK)
			table_hash_and_prefetch(table, &calls[i].key);
	if (count == 1)
		return; /* its bucket has not arrived yet, and the lookup will fetch the entry as soon */
	for (size_t i = 0; i < count; i++)
		if (calls[i].status == KV_OK)
			table_prefetch_entry(table, &calls[i].key);
}

/* Asks for work when the next slice of the sweep is due. */
static void schedule_sweep(struct store *store)
{
	int64_t wait = sweep_wait(&store->sweep, &store->keyspace);

	store->keyspace.sooner = false;
	if (wait != -1) /* 0 would be at the end of this turn, with all slices in it */
		store->host.work_in(store->host.arg, wait > 0 ? wait : 1);
}

static bool has_excess(const struct store *store)
{
	struct table_stats stats;

	table_stats(store->keyspace.table, &stats);
	return store->keyspace.evicts && store->max_memory != 0 && stats.memory > store->max_memory;
}

/*
 * The limit was lowered, or is lower than the size of what was loaded. A change evicts a thousand keys at most and would
 * then be refused, so the store evicts the excess by itself, in slices.
 */
static void evict_excess(struct store *store)
{
	for (int i = 0; i < EVICTED_AT_ONCE; i++)
		if (!has_excess(store) || !keyspace_evict(&store->keyspace))
			return;
	store->host.work_in(store->host.arg, 1);
}

static void store_submit(struct engine *engine, const struct call *call, struct kv_result *result)
{
	struct store *store = (struct store *)engine;
	struct keyspace *keyspace = &store->keyspace;
	uint64_t commit;

	if (keyspace->table == NULL) {
		*result = (struct kv_result){ .status = KV_LOADING };
		return;
	}
	keyspace->changed = false;
	keyspace->refusal = KV_OK;
	keyspace->commit = 0;
	result->kind = KV_NOTHING;
	result->next = 0;
	result->status = call->command->run(keyspace, call, result);
	result->commit = keyspace->commit;
	if (keyspace->in_transaction && result->next != 0)
		result->status = KV_TOO_MANY_KEYS;
	if (keyspace->refusal != KV_OK)
		*result = (struct kv_result){ .status = keyspace->refusal };
	if (keyspace->changed && (commit = commits_schedule(store->commits)) != 0)
		result->commit = commit;
	if (keyspace->sooner)
		schedule_sweep(store);
}

static void store_transact(struct engine *engine, bool on)
{
	((struct store *)engine)->keyspace.in_transaction = on;
}

/* Reading a key may expire it, which is a change to be committed. */
static void note_expiry(struct store *store)
{
	if (store->keyspace.changed)
		commits_schedule(store->commits);
}

static struct watch *store_watch(struct engine *engine, struct slice key, uint64_t *changes)
{
	struct store *store = (struct store *)engine;
	struct watch *watch;

	if (store->keyspace.table == NULL)
		return NULL;
	store->keyspace.now = 0;
	store->keyspace.changed = false;
	watch = keyspace_watch(&store->keyspace, key, changes);
	note_expiry(store);
	return watch;
}

static bool store_has_changed(struct engine *engine, const struct watch *watch, uint64_t changes)
{
	struct store *store = (struct store *)engine;
	bool result;

	store->keyspace.now = 0;
	store->keyspace.changed = false;
	result = keyspace_has_changed(&store->keyspace, watch, changes);
	note_expiry(store);
	return result;
}

static void store_unwatch(struct engine *engine, struct watch *watch)
{
	watches_remove(&((struct store *)engine)->keyspace.watches, watch);
}

static void store_work(void *engine)
{
	struct store *store = engine;
	struct keyspace *keyspace = &store->keyspace;
	bool is_loaded = keyspace->table != NULL;

	if (store->commits != NULL)
		commits_work(store->commits);
	if (keyspace->table == NULL)
		return;
	if (!is_loaded) {
		table_set_max_memory(keyspace->table, store->max_memory);
		table_set_eviction(keyspace->table, keyspace->evicts);
		keyspace->earliest = 0; /* not known: the sweep checks all keys */
	}
	keyspace->now = 0;
	keyspace->changed = false;
	if (sweep_wait(&store->sweep, keyspace) == 0)
		sweep_run(&store->sweep, keyspace);
	evict_excess(store);
	if (keyspace->changed)
		commits_schedule(store->commits);
	schedule_sweep(store);
}

static int store_backup(struct engine *engine, const char *directory, struct error *error)
{
	struct store *store = (struct store *)engine;

	if (store->commits == NULL)
		return error_set(error, "it has no storage");
	return commits_backup(store->commits, directory, error);
}

static void store_configure(struct engine *engine, const struct engine_settings *settings)
{
	struct store *store = (struct store *)engine;

	store->max_memory = settings->max_memory;
	store->keyspace.max_value = settings->max_value;
	store->keyspace.evicts = settings->evicts;
	if (store->keyspace.table == NULL)
		return;
	table_set_max_memory(store->keyspace.table, store->max_memory);
	table_set_eviction(store->keyspace.table, settings->evicts);
	if (has_excess(store))
		store->host.work_in(store->host.arg, 1);
}

static void store_stats(const struct engine *engine, struct engine_stats *stats)
{
	const struct store *store = (const struct store *)engine;

	*stats = (struct engine_stats){ 0 };
	if (store->keyspace.table != NULL)
		table_stats(store->keyspace.table, &stats->table);
	stats->evictions = store->keyspace.evictions;
	if (store->commits != NULL)
		commits_stats(store->commits, stats);
}

static int store_free(struct engine *engine, bool tidies)
{
	struct store *store = (struct store *)engine;
	int result = commits_free(store->commits, tidies);

	keyspace_clear(&store->keyspace);
	free(store);
	return result;
}

static const struct engine_ops store_ops = {
	.state = store_state,
	.prepare = store_prepare,
	.submit = store_submit,
	.transact = store_transact,
	.watch = store_watch,
	.has_changed = store_has_changed,
	.unwatch = store_unwatch,
	.work = store_work,
	.backup = store_backup,
	.configure = store_configure,
	.stats = store_stats,
	.free = store_free,
};

struct engine *store_new(
    const struct engine_settings *settings, const struct engine_host *host, struct error *error)
{
	bool durable = *settings->directory != '\0';
	struct store *store = calloc(1, sizeof(*store));

	if (store == NULL) {
		error_memory(error);
		return NULL;
	}
	store->engine = (struct engine){ .ops = &store_ops, .fd = -1 };
	store->host = *host;
	store->keyspace.earliest = INT64_MAX;
	sweep_init(&store->sweep);
	store->keyspace.logged = durable;
	store->keyspace.undoable = durable && settings->always;
	if (durable) {
		store->commits = commits_open(settings, &store->keyspace, host, error);
		if (store->commits != NULL)
			store->engine.fd = commits_fd(store->commits);
	} else if ((store->keyspace.table = table_new(0)) == NULL) {
		error_errno(error, "cannot create the table");
	}
	if (durable ? store->commits == NULL : store->keyspace.table == NULL) {
		store_free(&store->engine, false);
		return NULL;
	}
	store_configure(&store->engine, settings);
	return &store->engine;
}

int store_check(const char *path, uint64_t *keys, struct error *error)
{
	struct directory directory;
	struct stat owner;
	int result;

	if (stat(path, &owner) == -1)
		return error_errno(error, "cannot open storage %s", path);
	/* The owner can replace the files by others, so root does not open them. */
	if (geteuid() == 0 && owner.st_uid != 0 &&
	    (setgroups(0, NULL) == -1 || setgid(owner.st_gid) == -1 || setuid(owner.st_uid) == -1))
		return error_errno(error, "cannot become the owner of %s", path);
	result = directory_open(&directory, path, false, error);
	if (result == 0)
		result = loader_check(&directory, keys, error);
	directory_close(&directory);
	return result;
}
