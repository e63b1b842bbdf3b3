/*
 * The engine that remembers: the table, and behind it what makes changes durable. Those of a turn of the loop
 * fill a batch; while one is being committed, the next one fills. Until a change is committed an undo says
 * what was there before, and an answer that shows it rests on that commit.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/log.h"
#include "core/notify.h"
#include "kv/batch.h"
#include "kv/committer.h"
#include "kv/engine.h"
#include "kv/gather.h"
#include "kv/journal.h"
#include "kv/pending.h"

/* Without waiting for the interval; and where clients begin to wait for a disk that does not keep up. */
#define BATCH_HIGH ((size_t)8 << 20)
#define BATCH_MAX ((size_t)64 << 20)

#define RETRY_MS 100 /* when memory was short for an undo */
#define GATHER_MS 1  /* a look at whether more clients come */
#define LOAD_TOGETHER 32

struct durable {
	struct engine engine;
	struct engine_settings settings;
	struct engine_host host;
	char *label; /* for the log */
	struct table *table;
	struct committer *committer;
	struct pending pending;
	struct batch *open;       /* fills; NULL = out of memory at the moment */
	struct batch *committing; /* is with the committer */
	uint64_t last_commit;     /* the number of the newest batch */
	int64_t open_since;       /* ms, when it got its first change */
	int64_t given;            /* us, when the committer got the one that it has */
	struct gather gather;
	int64_t reminder;     /* ms, in which there is work; INT64_MAX = it was not asked for */
	bool begun;           /* the loop runs */
	bool asked;           /* for work at the end of the turn */
	bool undoing;         /* what has failed is not all undone yet */
	bool read_only;       /* because of that, or the disk does not work */
	int64_t failed_since; /* ms */
	uint64_t commits, failures, log_bytes;
	char failure[256];
};

static struct durable *durable_of(struct engine *engine)
{
	return (struct durable *)engine;
}

/* --- requests --- */

static void durable_prepare(struct engine *engine, struct table_key *keys, size_t count)
{
	table_prepare(durable_of(engine)->table, keys, count);
}

/* Of an undo that could not be made good, what the table says is nobody's business. */
static struct engine_answer shown(const struct durable *d, const struct table_key *key, int result)
{
	struct engine_answer answer = {
		.status = result == -1 ? ENGINE_NOT_FOUND : ENGINE_OK,
		.commit = pending_commit(&d->pending, key),
	};

	if (answer.commit != 0 && d->undoing)
		answer = (struct engine_answer){ .status = ENGINE_FAILED };
	return answer;
}

static struct engine_answer durable_get(struct engine *engine, const struct table_key *key)
{
	struct durable *d = durable_of(engine);
	struct table_value value = { NULL, 0 };
	struct engine_answer answer = shown(d, key, table_get(d->table, key, &value));

	answer.value = value;
	return answer;
}

/* How long a batch may fill, ms: half of the interval, for the other half is the disk's. */
static int64_t own_time(const struct durable *d)
{
	return d->settings.always ? 0 : d->settings.interval / 2;
}

static int open_batch(struct durable *d)
{
	if (d->open != NULL)
		return 0;
	d->open = batch_new(d->last_commit + 1);
	if (d->open == NULL)
		return -1;
	d->last_commit++;
	return 0;
}

/* Remembers what the key is, unless this batch does already. 0, or -1 when out of memory. */
static int remember(struct durable *d, const struct table_key *key, bool *remembered)
{
	struct table_value value;
	bool exists;
	struct undo *undo;

	*remembered = false;
	if (!d->settings.always || pending_commit(&d->pending, key) == d->open->commit)
		return 0;
	if (pending_reserve(&d->pending) == -1)
		return -1;
	exists = table_get(d->table, key, &value) == 0;
	undo = batch_add_undo(d->open, key, exists ? &value : NULL);
	if (undo == NULL)
		return -1;
	pending_add(&d->pending, undo);
	*remembered = true;
	return 0;
}

static void forget(struct durable *d)
{
	pending_remove(&d->pending, d->open->undo);
	batch_retract_undo(d->open);
}

static int apply(struct table *table, const struct table_key *key, const struct change *change)
{
	if (change->deletion)
		return table_delete(table, key);
	return table_set(table, key, change->value, change->value_length);
}

/* In the batch and in the table, or in none of them. 0, or -1 when there is no room. */
static int make_change(struct durable *d, const struct table_key *key, const struct change *change)
{
	bool remembered;

	if (open_batch(d) == -1 || batch_add(d->open, change) == -1)
		return -1;
	if (remember(d, key, &remembered) == -1) {
		batch_retract(d->open, change);
		return -1;
	}
	if (apply(d->table, key, change) == 0)
		return 0;
	if (remembered)
		forget(d);
	batch_retract(d->open, change);
	return -1;
}

/* Has the batch that has just got a change committed in time. */
static void ask_for_work(struct durable *d)
{
	bool now = d->settings.always || d->open->size > BATCH_HIGH;

	if (d->open->changes == 1)
		d->open_since = clock_ms();
	if (now && !d->asked)
		d->host.work_in(d->host.arg, 0);
	else if (!now && d->open->changes == 1)
		d->host.work_in(d->host.arg, own_time(d));
	d->asked |= now;
}

static struct engine_answer take_change(
    struct durable *d, const struct table_key *key, const struct change *change)
{
	if (d->read_only)
		return (struct engine_answer){ .status = ENGINE_FAILED };
	if (make_change(d, key, change) == -1)
		return (struct engine_answer){ .status = ENGINE_FULL };
	ask_for_work(d);
	return (struct engine_answer){
		.status = ENGINE_OK,
		.commit = d->settings.always || d->open->size > BATCH_MAX ? d->open->commit : 0,
	};
}

static struct engine_answer durable_set(
    struct engine *engine, const struct table_key *key, const void *value, size_t value_length)
{
	struct change set = { key->bytes, value, key->length, value_length, false };

	return take_change(durable_of(engine), key, &set);
}

static struct engine_answer durable_del(struct engine *engine, const struct table_key *key)
{
	struct durable *d = durable_of(engine);
	struct change deletion = { key->bytes, NULL, key->length, 0, true };
	struct table_value value;

	if (table_get(d->table, key, &value) == -1)
		return shown(d, key, -1);
	return take_change(d, key, &deletion);
}

/* --- commits --- */

static void settle(struct durable *d, struct batch *batch)
{
	for (const struct undo *undo = batch->undo; undo != NULL; undo = undo->before)
		pending_remove(&d->pending, undo);
	batch_free(batch);
}

/* Undoes the batch and frees it; false when memory was short, and there is more to undo. */
static bool roll_back(struct durable *d, struct batch **batch)
{
	struct undo *undo;

	while (*batch != NULL && (undo = (*batch)->undo) != NULL) {
		if (!undo->existed)
			table_delete(d->table, &undo->key);
		else if (table_set(d->table, &undo->key, undo->bytes + undo->key.length,
			     undo->value_length) == -1)
			return false;
		pending_remove(&d->pending, undo);
		batch_retract_undo(*batch);
	}
	batch_free(*batch);
	*batch = NULL;
	return true;
}

/* The newest first. What stays pending for now is not shown to anybody. */
static bool roll_back_all(struct durable *d)
{
	bool done;

	table_set_max_memory(d->table, 0);
	done = roll_back(d, &d->open) && roll_back(d, &d->committing);
	table_set_max_memory(d->table, d->settings.max_memory);
	return done;
}

static void note_failure(struct durable *d, const char *why)
{
	d->failures++;
	snprintf(d->failure, sizeof(d->failure), "%s", why);
	if (d->read_only)
		return;
	d->read_only = true;
	d->failed_since = clock_ms();
	log_error("%s: %s; read-only until it works again", d->label, why);
}

static void note_recovery(struct durable *d)
{
	d->read_only = false;
	log_info("%s: works again after %" PRId64 " s", d->label,
	    (clock_ms() - d->failed_since + 500) / 1000);
}

/* Asks for work in so many ms, unless that is so earlier; -1 = there is no need. */
static void remind(struct durable *d, int64_t ms)
{
	if (ms == -1 || ms >= d->reminder)
		return;
	d->reminder = ms;
	d->host.work_in(d->host.arg, ms);
}

static bool has_changes(const struct batch *batch)
{
	return batch != NULL && batch->changes > 0;
}

/* Gives the open batch to the committer, or says when that will be due. */
static void hand_over(struct durable *d)
{
	int64_t due = d->open_since + own_time(d), now = clock_ms();

	if (d->undoing || d->committing != NULL || !has_changes(d->open))
		return; /* until there is news */
	if (now < due && d->open->size <= BATCH_HIGH) {
		remind(d, due - now);
		return;
	}
	if (gather_waits(&d->gather, d->open->changes, clock_us())) {
		remind(d, GATHER_MS);
		return;
	}
	if (!committer_give(d->committer, d->open))
		return;
	d->committing = d->open;
	d->open = NULL;
	d->given = clock_us();
}

static void take_good_news(struct durable *d, struct batch *done)
{
	int64_t now = clock_us();
	size_t open = d->open == NULL ? 0 : d->open->changes;

	if (d->settings.always)
		gather_begin(&d->gather, done->changes, open, now - d->given, now);
	d->commits++;
	d->committing = NULL;
	settle(d, done);
}

/* What was answered before it was durable is kept, and tried again. */
static void take_bad_news(struct durable *d, const struct commit_news *news)
{
	if (*news->why != '\0')
		note_failure(d, news->why);
	d->undoing |= news->failed && d->settings.always;
	if (d->undoing && !roll_back_all(d)) {
		remind(d, RETRY_MS);
		return;
	}
	d->undoing = false;
	if (d->read_only && news->works)
		note_recovery(d);
}

/* Clients are told last: they come with more changes. */
static void durable_work(struct engine *engine)
{
	struct durable *d = durable_of(engine);
	struct commit_news news;
	uint64_t safe = 0;

	d->asked = false;
	d->reminder = INT64_MAX;
	if (!d->begun)
		committer_wake(d->committer);
	d->begun = true;
	committer_ask(d->committer, &news);
	d->log_bytes = news.log_bytes;
	if (news.done != NULL) {
		safe = news.done->commit;
		take_good_news(d, news.done);
	}
	take_bad_news(d, &news);
	hand_over(d);
	remind(d, committer_due(d->committer));
	if (safe != 0)
		d->host.settled(d->host.arg, safe, true);
	if (news.failed)
		d->host.settled(d->host.arg, d->last_commit, false);
}

static void durable_set_max_memory(struct engine *engine, size_t max_memory)
{
	struct durable *d = durable_of(engine);

	d->settings.max_memory = max_memory;
	table_set_max_memory(d->table, max_memory);
}

static void durable_stats(struct engine *engine, struct engine_stats *stats)
{
	const struct durable *d = durable_of(engine);

	*stats = (struct engine_stats){
		.durable = true,
		.read_only = d->read_only,
		.commits = d->commits,
		.failures = d->failures,
		.log_bytes = d->log_bytes,
	};
	if (d->open != NULL)
		stats->unsettled += d->open->changes;
	if (d->committing != NULL)
		stats->unsettled += d->committing->changes;
	table_stats(d->table, &stats->table);
	snprintf(stats->failure, sizeof(stats->failure), "%s", d->failure);
}

/* --- beginning and end --- */

static void durable_free(struct engine *engine)
{
	struct durable *d = durable_of(engine);

	if (d->committer != NULL && committer_stop(d->committer, d->open) == -1)
		log_error("%s: the last changes are lost%s", d->label,
		    d->settings.always ? ", but for what has been answered" : "");
	if (engine->fd != -1)
		close(engine->fd);
	pending_clear(&d->pending);
	table_free(d->table);
	free(d->label);
	free(d);
}

static const struct engine_ops durable_ops = {
	.prepare = durable_prepare,
	.get = durable_get,
	.set = durable_set,
	.del = durable_del,
	.work = durable_work,
	.set_max_memory = durable_set_max_memory,
	.stats = durable_stats,
	.free = durable_free,
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

	for (size_t i = 0; i < count; i++)
		keys[i] = (struct table_key){ changes[i].key, changes[i].key_length, 0 };
	table_prepare(loading->table, keys, count);
	for (size_t i = 0; i < count; i++)
		if (apply(loading->table, &keys[i], &changes[i]) == -1 && !changes[i].deletion)
			return -1;
	loading->done += count;
	notify_progress(&loading->progress, loading->done);
	return 0;
}

/* Takes over the journal. 0, or -1 with why. */
static int take_up(struct durable *d, struct journal *journal, char *why, size_t why_size)
{
	d->engine.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (d->engine.fd == -1) {
		snprintf(why, why_size, "eventfd: %s", strerror(errno));
		journal_close(journal);
		return -1;
	}
	d->committer = committer_start(
	    journal, d->settings.always ? 0 : d->settings.interval, d->engine.fd, why, why_size);
	return d->committer == NULL ? -1 : 0;
}

/* What has been kept is kept, whatever max_memory says now. */
static int load(struct durable *d, char *why, size_t why_size)
{
	struct journal *journal = journal_open(d->settings.directory, why, why_size);
	struct loading loading = { .table = d->table, .progress = { .what = "Loading a store" } };

	if (journal == NULL)
		return -1;
	if (journal_load(journal, load_changes, &loading, why, why_size) == -1) {
		journal_close(journal);
		return -1;
	}
	table_set_max_memory(d->table, d->settings.max_memory);
	return take_up(d, journal, why, why_size);
}

struct engine *durable_engine_new(const struct engine_settings *settings,
    const struct engine_host *host, char *why, size_t why_size)
{
	struct durable *d = calloc(1, sizeof(*d));

	snprintf(why, why_size, "out of memory");
	if (d == NULL)
		return NULL;
	d->engine = (struct engine){ .ops = &durable_ops, .fd = -1 };
	d->settings = *settings;
	d->host = *host;
	if (asprintf(&d->label, "%s: storage %s", settings->name, settings->directory) == -1)
		d->label = NULL;
	d->table = table_new(0);
	if (d->label != NULL && d->table != NULL && load(d, why, why_size) == 0)
		return &d->engine;
	durable_free(&d->engine);
	return NULL;
}
