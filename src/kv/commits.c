/* See commits.h. The changes of a turn of the loop fill the keyspace's open batch; at its end they go to the committer. */
#include "kv/commits.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/error.h"
#include "core/log.h"
#include "core/notify.h"
#include "kv/batch.h"
#include "kv/committer.h"
#include "kv/engine.h"
#include "kv/group_commit.h"
#include "kv/journal.h"
#include "kv/keyspace.h"

#define BATCH_HIGH ((size_t)8 << 20) /* a batch of more bytes does not wait for the interval */
#define BATCH_MAX ((size_t)64 << 20) /* with more, the disk does not keep up: clients wait for it */

#define RETRY_MS 100 /* when memory was short for a rollback */
#define GROUP_MS 1   /* between two looks at whether more clients have joined a group commit */

struct commits {
	struct keyspace *keyspace;
	struct engine_host host;
	bool always;      /* see struct engine_settings */
	int64_t interval; /* ms */
	char *label;      /* for the log */
	int fd;
	struct committer *committer;
	struct batch *committing; /* is with the committer */
	uint64_t scheduled;       /* the number of the open batch, once it has got a change */
	int64_t open_since;       /* ms, when it got the first */
	int64_t submitted;        /* us, when the committer got the batch that it has */
	struct group_commit group;
	int64_t reminder;        /* ms, after which work was asked for; INT64_MAX = it was not */
	bool begun;              /* the loop runs */
	bool asked;              /* for work at the end of the turn */
	int64_t failed_since;    /* ms */
	uint64_t done, failures; /* commits */
	uint64_t log_bytes;
	char failure[256];
};

/* How long a batch may fill, ms: half of the interval, for the other half is the disk's. */
static int64_t fill_time(const struct commits *commits)
{
	return commits->always ? 0 : commits->interval / 2;
}

uint64_t commits_schedule(struct commits *commits)
{
	const struct batch *open = commits->keyspace->open;
	bool first = commits->scheduled != open->commit;
	bool now = commits->always || open->size > BATCH_HIGH;

	if (first) {
		commits->scheduled = open->commit;
		commits->open_since = clock_ms();
	}
	if (now && !commits->asked)
		commits->host.work_in(commits->host.arg, 0);
	else if (!now && first)
		commits->host.work_in(commits->host.arg, fill_time(commits));
	commits->asked |= now;
	return open->size > BATCH_MAX ? open->commit : 0;
}

/* Undoes the newest changes first. false when out of memory: clients are not shown what is left, see note_commit(). */
static bool roll_back_all(struct commits *commits)
{
	struct keyspace *keyspace = commits->keyspace;
	size_t limit = table_set_max_memory(keyspace->table, 0);
	bool done = keyspace_roll_back(keyspace, &keyspace->open) &&
		    keyspace_roll_back(keyspace, &commits->committing);

	table_set_max_memory(keyspace->table, limit);
	return done;
}

/* Asks for work in so many ms, unless it comes earlier anyway; -1 = there is no need. */
static void remind(struct commits *commits, int64_t ms)
{
	if (ms == -1 || ms >= commits->reminder)
		return;
	commits->reminder = ms;
	commits->host.work_in(commits->host.arg, ms);
}

/* Submits the open batch to the committer, or asks for work when that is due. */
static void submit_batch(struct commits *commits)
{
	struct keyspace *keyspace = commits->keyspace;
	int64_t due = commits->open_since + fill_time(commits), now = clock_ms();

	if (keyspace->open == NULL || keyspace->open->changes == 0)
		return;
	if (keyspace->undoing || commits->committing != NULL)
		return; /* until there is a completion */
	if (now < due && keyspace->open->size <= BATCH_HIGH) {
		remind(commits, due - now);
		return;
	}
	if (group_commit_waits(&commits->group, keyspace->open->changes, clock_us())) {
		remind(commits, GROUP_MS);
		return;
	}
	if (!committer_submit(commits->committer, keyspace->open))
		return;
	commits->committing = keyspace->open;
	keyspace->open = NULL;
	commits->submitted = clock_us();
}

static void on_committed(struct commits *commits, struct batch *done)
{
	int64_t now = clock_us();
	size_t open = commits->keyspace->open == NULL ? 0 : commits->keyspace->open->changes;

	if (commits->always)
		group_commit_begin(
		    &commits->group, done->changes, open, now - commits->submitted, now);
	commits->done++;
	commits->committing = NULL;
	keyspace_committed(commits->keyspace, done);
}

/* Notes whether the disk fails or works again, and undoes what clients wait for if it has failed. */
static void check_failure(struct commits *commits, const struct commit_completion *completion)
{
	struct keyspace *keyspace = commits->keyspace;

	if (*completion->why != '\0') {
		commits->failures++;
		snprintf(commits->failure, sizeof(commits->failure), "%s", completion->why);
		if (!keyspace->read_only) {
			keyspace->read_only = true;
			commits->failed_since = clock_ms();
			log_error("%s: %s; read-only until it works again", commits->label,
			    completion->why);
		}
	}
	keyspace->undoing |= completion->failed && commits->always;
	if (keyspace->undoing && !roll_back_all(commits)) {
		remind(commits, RETRY_MS);
		return;
	}
	keyspace->undoing = false;
	if (!keyspace->read_only || !completion->works)
		return;
	keyspace->read_only = false;
	log_info("%s: works again after %" PRId64 " s", commits->label,
	    (clock_ms() - commits->failed_since + 500) / 1000);
}

/* Reports commits last, because the clients that hear of them send more changes. */
void commits_work(struct commits *commits)
{
	struct commit_completion completion;
	uint64_t durable = 0;

	commits->asked = false;
	commits->reminder = INT64_MAX;
	if (!commits->begun)
		committer_wake(commits->committer);
	commits->begun = true;
	committer_poll(commits->committer, &completion);
	commits->log_bytes = completion.log_bytes;
	if (completion.done != NULL) {
		durable = completion.done->commit;
		on_committed(commits, completion.done);
	}
	check_failure(commits, &completion);
	submit_batch(commits);
	remind(commits, committer_due(commits->committer));
	if (durable != 0)
		commits->host.committed(commits->host.arg, durable, true);
	/* With an interval, a failed batch is kept and tried again; even a reply that had to wait does not promise the disk. */
	if (completion.failed)
		commits->host.committed(
		    commits->host.arg, commits->keyspace->last_commit, !commits->always);
}

void commits_stats(const struct commits *commits, struct engine_stats *stats)
{
	const struct batch *open = commits->keyspace->open, *committing = commits->committing;

	stats->durable = true;
	stats->read_only = commits->keyspace->read_only;
	stats->uncommitted =
	    (open == NULL ? 0 : open->changes) + (committing == NULL ? 0 : committing->changes);
	stats->commits = commits->done;
	stats->failures = commits->failures;
	stats->log_bytes = commits->log_bytes;
	snprintf(stats->failure, sizeof(stats->failure), "%s", commits->failure);
}

int commits_fd(const struct commits *commits)
{
	return commits->fd;
}

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

/* Loads the directory and starts the committer. 0, or -1 with the error. */
static int open_directory(
    struct commits *commits, const struct engine_settings *settings, struct error *error)
{
	struct loading loading = { .table = commits->keyspace->table,
		.progress = { .what = "Loading a store" } };
	struct journal *journal;

	if (asprintf(&commits->label, "%s: storage %s", settings->name, settings->directory) ==
	    -1) {
		commits->label = NULL;
		return error_memory(error);
	}
	journal = journal_open(settings->directory, error);
	if (journal == NULL)
		return -1;
	if (journal_load(journal, load_changes, &loading, error) == -1) {
		journal_close(journal);
		return -1;
	}
	commits->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (commits->fd == -1) {
		error_errno(error, "eventfd");
		journal_close(journal);
		return -1;
	}
	commits->committer =
	    committer_start(journal, commits->always ? 0 : commits->interval, commits->fd, error);
	return commits->committer == NULL ? -1 : 0;
}

struct commits *commits_open(const struct engine_settings *settings, struct keyspace *keyspace,
    const struct engine_host *host, struct error *error)
{
	struct commits *commits = calloc(1, sizeof(*commits));

	if (commits == NULL) {
		error_memory(error);
		return NULL;
	}
	commits->keyspace = keyspace;
	commits->host = *host;
	commits->always = settings->always;
	commits->interval = settings->interval;
	commits->fd = -1;
	if (open_directory(commits, settings, error) == -1) {
		commits_free(commits);
		return NULL;
	}
	return commits;
}

void commits_free(struct commits *commits)
{
	if (commits == NULL)
		return;
	if (commits->committer != NULL &&
	    committer_stop(commits->committer, commits->keyspace->open) == -1)
		log_error("%s: the last changes are lost%s", commits->label,
		    commits->always ? ", except those confirmed to clients" : "");
	if (commits->fd != -1)
		close(commits->fd);
	free(commits->label);
	free(commits);
}
