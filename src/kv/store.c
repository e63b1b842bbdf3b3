/*
 * The engine over a keyspace: it owns the keyspace, the batch that is being committed, and the committer. The changes
 * of a turn of the loop fill the keyspace's open batch; while one batch is being committed, the next one fills.
 */
#include "kv/store.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/error.h"
#include "core/log.h"
#include "core/notify.h"
#include "kv/batch.h"
#include "kv/call.h"
#include "kv/command.h"
#include "kv/committer.h"
#include "kv/engine.h"
#include "kv/group_commit.h"
#include "kv/journal.h"
#include "kv/keyspace.h"

/* Where a batch no longer waits for the interval; and where clients begin to wait for a disk that does not keep up. */
#define BATCH_HIGH ((size_t)8 << 20)
#define BATCH_MAX ((size_t)64 << 20)

#define RETRY_MS 100 /* when memory was short for a rollback */
#define GROUP_MS 1   /* between two looks at whether more clients have joined a group commit */

struct store {
	struct engine engine;
	struct keyspace keyspace;
	bool always;      /* see struct engine_settings */
	int64_t interval; /* ms */
	size_t max_memory;
	/* Only of a durable store: */
	struct engine_host host;
	char *label;                 /* for the log */
	struct committer *committer; /* NULL = the store is in memory only */
	struct batch *committing;    /* is with the committer */
	int64_t open_since;          /* ms, when the open batch got its first change */
	int64_t submitted;           /* us, when the committer got the batch that it has */
	struct group_commit group;
	int64_t reminder;     /* ms, in which there is work; INT64_MAX = it was not asked for */
	bool begun;           /* the loop runs */
	bool asked;           /* for work at the end of the turn */
	int64_t failed_since; /* ms */
	uint64_t commits, failures, log_bytes;
	char failure[256];
};

/* --- calls --- */

static void store_prepare(struct engine *engine, struct call *calls, size_t count)
{
	const struct table *table = ((const struct store *)engine)->keyspace.table;

	for (size_t i = 0; i < count; i++)
		if (calls[i].command != NULL)
			table_hash_and_prefetch(table, &calls[i].key);
	if (count == 1)
		return; /* its bucket is still on the way, and the lookup that waits for it needs the entry next */
	for (size_t i = 0; i < count; i++)
		if (calls[i].command != NULL)
			table_prefetch_entry(table, &calls[i].key);
}

/* How long a batch may fill, ms: half of the interval, for the other half is the disk's. */
static int64_t fill_time(const struct store *store)
{
	return store->always ? 0 : store->interval / 2;
}

/* The open batch has got changes: has it committed in time. `first`: it had none before. */
static void schedule_commit(struct store *store, bool first)
{
	bool now = store->always || store->keyspace.open->size > BATCH_HIGH;

	if (first)
		store->open_since = clock_ms();
	if (now && !store->asked)
		store->host.work_in(store->host.arg, 0);
	else if (!now && first)
		store->host.work_in(store->host.arg, fill_time(store));
	store->asked |= now;
}

static void store_submit(struct engine *engine, const struct call *call, struct kv_result *result)
{
	struct store *store = (struct store *)engine;
	struct keyspace *keyspace = &store->keyspace;
	bool first = keyspace->open == NULL || keyspace->open->changes == 0;

	keyspace->changed = false;
	keyspace->refusal = KV_OK;
	keyspace->commit = 0;
	result->kind = KV_NOTHING;
	result->status = call->command->run(keyspace, call, result);
	result->commit = keyspace->commit;
	if (keyspace->refusal != KV_OK)
		*result = (struct kv_result){ .status = keyspace->refusal };
	if (!keyspace->changed)
		return;
	schedule_commit(store, first);
	if (keyspace->open->size > BATCH_MAX)
		result->commit = keyspace->open->commit;
}

/* --- commits --- */

/* The newest first. What is not undone for now is not shown to anybody. */
static bool roll_back_all(struct store *store)
{
	bool done;

	table_set_max_memory(store->keyspace.table, 0);
	done = keyspace_roll_back(&store->keyspace, &store->keyspace.open) &&
	       keyspace_roll_back(&store->keyspace, &store->committing);
	table_set_max_memory(store->keyspace.table, store->max_memory);
	return done;
}

/* Asks for work in so many ms, unless that is so earlier; -1 = there is no need. */
static void remind(struct store *store, int64_t ms)
{
	if (ms == -1 || ms >= store->reminder)
		return;
	store->reminder = ms;
	store->host.work_in(store->host.arg, ms);
}

/* Submits the open batch to the committer, or says when that will be due. */
static void submit_batch(struct store *store)
{
	struct keyspace *keyspace = &store->keyspace;
	int64_t due = store->open_since + fill_time(store), now = clock_ms();

	if (keyspace->open == NULL || keyspace->open->changes == 0)
		return;
	if (keyspace->undoing || store->committing != NULL)
		return; /* until there is a completion */
	if (now < due && keyspace->open->size <= BATCH_HIGH) {
		remind(store, due - now);
		return;
	}
	if (group_commit_waits(&store->group, keyspace->open->changes, clock_us())) {
		remind(store, GROUP_MS);
		return;
	}
	if (!committer_submit(store->committer, keyspace->open))
		return;
	store->committing = keyspace->open;
	keyspace->open = NULL;
	store->submitted = clock_us();
}

static void on_committed(struct store *store, struct batch *done)
{
	int64_t now = clock_us();
	size_t open = store->keyspace.open == NULL ? 0 : store->keyspace.open->changes;

	if (store->always)
		group_commit_begin(&store->group, done->changes, open, now - store->submitted, now);
	store->commits++;
	store->committing = NULL;
	keyspace_committed(&store->keyspace, done);
}

/* What was replied before it was durable is kept, and tried again. */
static void on_failure(struct store *store, const struct commit_completion *completion)
{
	struct keyspace *keyspace = &store->keyspace;

	if (*completion->why != '\0') {
		store->failures++;
		snprintf(store->failure, sizeof(store->failure), "%s", completion->why);
		if (!keyspace->read_only) {
			keyspace->read_only = true;
			store->failed_since = clock_ms();
			log_error("%s: %s; read-only until it works again", store->label,
			    completion->why);
		}
	}
	keyspace->undoing |= completion->failed && store->always;
	if (keyspace->undoing && !roll_back_all(store)) {
		remind(store, RETRY_MS);
		return;
	}
	keyspace->undoing = false;
	if (!keyspace->read_only || !completion->works)
		return;
	keyspace->read_only = false;
	log_info("%s: works again after %" PRId64 " s", store->label,
	    (clock_ms() - store->failed_since + 500) / 1000);
}

/* Reports commits last, because the clients that hear of them send more changes. */
static void store_work(struct engine *engine)
{
	struct store *store = (struct store *)engine;
	struct commit_completion completion;
	uint64_t durable = 0;

	if (store->committer == NULL)
		return;
	store->asked = false;
	store->reminder = INT64_MAX;
	if (!store->begun)
		committer_wake(store->committer);
	store->begun = true;
	committer_poll(store->committer, &completion);
	store->log_bytes = completion.log_bytes;
	if (completion.done != NULL) {
		durable = completion.done->commit;
		on_committed(store, completion.done);
	}
	on_failure(store, &completion);
	submit_batch(store);
	remind(store, committer_due(store->committer));
	if (durable != 0)
		store->host.committed(store->host.arg, durable, true);
	if (completion.failed)
		store->host.committed(store->host.arg, store->keyspace.last_commit, false);
}

/* --- the rest --- */

static void store_configure(struct engine *engine, const struct engine_settings *settings)
{
	struct store *store = (struct store *)engine;

	store->max_memory = settings->max_memory;
	table_set_max_memory(store->keyspace.table, settings->max_memory);
}

static void store_stats(const struct engine *engine, struct engine_stats *stats)
{
	const struct store *store = (const struct store *)engine;
	const struct batch *open = store->keyspace.open;

	*stats = (struct engine_stats){
		.durable = store->committer != NULL,
		.read_only = store->keyspace.read_only,
		.commits = store->commits,
		.failures = store->failures,
		.log_bytes = store->log_bytes,
	};
	stats->uncommitted = (open == NULL ? 0 : open->changes) +
			     (store->committing == NULL ? 0 : store->committing->changes);
	table_stats(store->keyspace.table, &stats->table);
	snprintf(stats->failure, sizeof(stats->failure), "%s", store->failure);
}

static void store_free(struct engine *engine)
{
	struct store *store = (struct store *)engine;

	if (store->committer != NULL &&
	    committer_stop(store->committer, store->keyspace.open) == -1)
		log_error("%s: the last changes are lost%s", store->label,
		    store->always ? ", except those confirmed to clients" : "");
	if (engine->fd != -1)
		close(engine->fd);
	keyspace_clear(&store->keyspace);
	free(store->label);
	free(store);
}

static const struct engine_ops store_ops = {
	.prepare = store_prepare,
	.submit = store_submit,
	.work = store_work,
	.configure = store_configure,
	.stats = store_stats,
	.free = store_free,
};

struct loading {
	struct table *table;
	struct notify_progress progress;
	uint64_t done;
};

static int load_changes(void *arg, const struct change *changes, size_t count)
{
	struct loading *loading = arg;
	struct table_key keys[JOURNAL_LOAD_MAX];

	for (size_t i = 0; i < count; i++) {
		keys[i] = (struct table_key){ changes[i].key, changes[i].key_length, 0 };
		table_hash_and_prefetch(loading->table, &keys[i]);
	}
	for (size_t i = 0; i < count; i++)
		table_prefetch_entry(loading->table, &keys[i]);
	for (size_t i = 0; i < count; i++) {
		const struct change *change = &changes[i];

		if (change->deletion)
			table_delete(loading->table, &keys[i]);
		else if (table_set(loading->table, &keys[i], change->value, change->value_length) ==
			 -1)
			return -1;
	}
	loading->done += count;
	notify_progress(&loading->progress, loading->done);
	return 0;
}

/* Loads the directory and starts what makes changes durable there. 0, or -1. */
static int store_open(
    struct store *store, const struct engine_settings *settings, struct error *error)
{
	struct loading loading = { .table = store->keyspace.table,
		.progress = { .what = "Loading a store" } };
	struct journal *journal;

	if (asprintf(&store->label, "%s: storage %s", settings->name, settings->directory) == -1) {
		store->label = NULL;
		return error_memory(error);
	}
	journal = journal_open(settings->directory, error);
	if (journal == NULL)
		return -1;
	if (journal_load(journal, load_changes, &loading, error) == -1) {
		journal_close(journal);
		return -1;
	}
	store->engine.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (store->engine.fd == -1) {
		error_errno(error, "eventfd");
		journal_close(journal);
		return -1;
	}
	store->committer =
	    committer_start(journal, store->always ? 0 : store->interval, store->engine.fd, error);
	return store->committer == NULL ? -1 : 0;
}

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
	store->always = settings->always;
	store->interval = settings->interval;
	store->host = *host;
	store->keyspace.logged = durable;
	store->keyspace.undoable = durable && settings->always;
	store->keyspace.table = table_new(0);
	if (store->keyspace.table == NULL)
		error_errno(error, "cannot create the table");
	else if (!durable || store_open(store, settings, error) == 0) {
		store_configure(&store->engine, settings);
		return &store->engine;
	}
	store_free(&store->engine);
	return NULL;
}
