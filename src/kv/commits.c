/*
 * The changes of a turn of the loop fill the keyspace's open batch; at its end they go to the flusher. What the flusher
 * has sealed goes to the checkpoint.
 */
#include "kv/commits.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "core/clock.h"
#include "core/error.h"
#include "core/log.h"
#include "kv/batch.h"
#include "kv/checkpoint.h"
#include "kv/directory.h"
#include "kv/flusher.h"
#include "kv/group_commit.h"
#include "kv/keyspace.h"
#include "kv/loader.h"

#define BATCH_HIGH ((size_t)8 << 20) /* a batch of more bytes does not wait for the interval */
#define BATCH_MAX ((size_t)64 << 20) /* with more, the disk does not keep up: clients wait for it */

/* With more bytes that no checkpoint has moved, batches wait for it, so that the log does not fill the disk. */
#define LOG_MAX ((uint64_t)128 << 20)

/* At a stop, a log of not more bytes is moved to the snapshot, for half a second. The next start replays a larger one. */
#define FINISH_MAX ((uint64_t)16 << 20)

#define BUSY_WARN_MS 10000
#define RETRY_MS 100 /* when memory was short for a rollback */
#define GROUP_MS 1   /* between two looks at whether more clients have joined a group commit */

struct commits {
	struct keyspace *keyspace;
	struct engine_host host;
	bool always;      /* see struct engine_settings */
	int64_t interval; /* ms */
	char *label;      /* for the log */
	int fd;           /* an eventfd, which all threads make readable */
	struct directory directory;
	enum engine_state state;
	struct error error;    /* ENGINE_FAILED */
	struct loader *loader; /* while the store is being loaded */
	struct flusher *flusher;
	struct checkpoint *checkpoint;
	char *backup;           /* the directory of the backup that is being made; NULL = none is */
	uint64_t backup_commit; /* the backup includes it */
	enum { BACKUP_COMMITS, BACKUP_SEALS, BACKUP_COPIES } backup_step;
	struct batch *committing; /* is with the flusher */
	uint64_t scheduled;       /* the number of the open batch, once it has got a change */
	int64_t open_since;       /* ms, when it got the first */
	int64_t submitted;        /* us, when the flusher got the batch that it has */
	struct group_commit group;
	int64_t reminder;     /* ms, after which work was requested; INT64_MAX = it was not */
	bool work_requested;  /* at the end of this turn */
	int64_t failed_since; /* ms */
	bool flusher_works, checkpoint_works, checkpoint_full;
	uint64_t log_bytes;      /* that no checkpoint has moved */
	int64_t busy;            /* see struct checkpoint_status */
	bool warned;             /* of that */
	uint64_t done, failures; /* commits */
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
	bool now = commits->always || open->frame.length > BATCH_HIGH;

	if (first) {
		commits->scheduled = open->commit;
		commits->open_since = clock_ms();
	}
	if (now && !commits->work_requested)
		commits->host.work_in(commits->host.arg, 0);
	else if (!now && first)
		commits->host.work_in(commits->host.arg, fill_time(commits));
	commits->work_requested |= now;
	return open->frame.length > BATCH_MAX ? open->commit : 0;
}

/* Undoes the newest changes first. false when out of memory: clients are not shown what is left, see note_commit(). */
static bool roll_back_all(struct commits *commits)
{
	struct keyspace *keyspace = commits->keyspace;

	return keyspace_roll_back(keyspace, &keyspace->open) &&
	       keyspace_roll_back(keyspace, &commits->committing);
}

/* Requests work in so many ms, unless it was requested for an earlier time; -1 = none is needed. */
static void remind(struct commits *commits, int64_t ms)
{
	if (ms == -1 || ms >= commits->reminder)
		return;
	commits->reminder = ms;
	commits->host.work_in(commits->host.arg, ms);
}

/* Submits the open batch to the flusher, or requests work for the time when that is due. */
static void submit_batch(struct commits *commits)
{
	struct keyspace *keyspace = commits->keyspace;
	int64_t due = commits->open_since + fill_time(commits), now = clock_ms();

	if (keyspace->open == NULL || keyspace->open->changes == 0)
		return;
	if (keyspace->undoing || commits->committing != NULL)
		return; /* until there is a completion */
	if (now < due && keyspace->open->frame.length <= BATCH_HIGH && commits->backup == NULL) {
		remind(commits, due - now);
		return;
	}
	if (group_commit_waits(&commits->group, keyspace->open->changes, clock_us())) {
		remind(commits, GROUP_MS);
		return;
	}
	if (commits->log_bytes > LOG_MAX && commits->checkpoint_works && commits->busy == 0)
		return; /* until the checkpoint reports progress */
	if (!flusher_submit(commits->flusher, keyspace->open))
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

/* Both threads need the disk: when either fails, the store is read-only. */
static void note_failure(struct commits *commits, const char *failure)
{
	struct keyspace *keyspace = commits->keyspace;

	commits->failures++;
	snprintf(commits->failure, sizeof(commits->failure), "%s", failure);
	if (keyspace->read_only)
		return;
	keyspace->read_only = true;
	commits->failed_since = clock_ms();
	log_error("%s: %s; read-only until it works again", commits->label, failure);
}

/* Undoes what clients wait for if the flusher has failed, and notes whether the disk works again. */
static void handle_failure(struct commits *commits, const struct flusher_completion *completion)
{
	struct keyspace *keyspace = commits->keyspace;

	keyspace->undoing |= completion->failed && commits->always;
	if (keyspace->undoing && !roll_back_all(commits)) {
		remind(commits, RETRY_MS);
		return;
	}
	keyspace->undoing = false;
	keyspace->deletes = (completion->works || completion->deletes) &&
			    (commits->checkpoint_works || commits->checkpoint_full);
	if (!keyspace->read_only || !commits->flusher_works || !commits->checkpoint_works)
		return;
	keyspace->read_only = false;
	log_info("%s: works again after %" PRId64 " s", commits->label,
	    (clock_ms() - commits->failed_since + 500) / 1000);
}

static void end_backup(struct commits *commits, const struct error *error, uint64_t keys)
{
	free(commits->backup);
	commits->backup = NULL;
	commits->host.backed_up(commits->host.arg, error, keys);
}

static void poll_checkpoint(struct commits *commits)
{
	struct checkpoint_status status;
	struct error error;
	uint64_t keys;

	checkpoint_poll(commits->checkpoint, &status);
	commits->checkpoint_works = status.works;
	commits->checkpoint_full = status.full;
	commits->log_bytes -= status.bytes;
	commits->busy = status.busy;
	if (status.failed)
		note_failure(commits, status.failure);
	if (status.failed &&
	    status.moved) /* only the flusher can tell if it is our volume, mounted anew */
		flusher_seal(commits->flusher);
	if (status.copied) {
		int result = checkpoint_backup_result(commits->checkpoint, &keys, &error);

		end_backup(commits, result == -1 ? &error : NULL, keys);
	}
	if (status.busy >= BUSY_WARN_MS && !commits->warned)
		log_warning("%s: another program has been reading snapshot.db for %" PRId64
			    " s; the log grows until it has finished",
		    commits->label, status.busy / 1000);
	commits->warned = status.busy >= BUSY_WARN_MS;
}

/*
 * Takes the backup one step further: commits what is open, seals the segment, copies the snapshot. A copy that has begun
 * does not need the log any more, and the checkpoint alone reports its end.
 */
static void continue_backup(struct commits *commits, const struct flusher_completion *completion)
{
	struct error error;

	if (completion->failed && commits->backup_step != BACKUP_COPIES) {
		error_set(&error, "%s", completion->failure);
		end_backup(commits, &error, 0);
	} else if (commits->backup_step == BACKUP_COMMITS) {
		if (commits->committing != NULL ||
		    (commits->keyspace->open != NULL && commits->keyspace->open->changes > 0 &&
			commits->keyspace->open->commit <= commits->backup_commit))
			return;
		flusher_seal(commits->flusher);
		commits->backup_step = BACKUP_SEALS;
	} else if (commits->backup_step == BACKUP_SEALS && !completion->seal_pending) {
		commits->backup_step = BACKUP_COPIES;
		if (checkpoint_backup(commits->checkpoint, commits->backup, completion->segment - 1,
			&error) == -1)
			end_backup(commits, &error, 0);
	}
}

int commits_backup(struct commits *commits, const char *directory, struct error *error)
{
	if (commits->state != ENGINE_READY)
		return error_set(error, "the store is being loaded");
	if (commits->backup != NULL)
		return error_set(error, "a backup to %s is being made", commits->backup);
	if (commits->keyspace->read_only)
		return error_set(error, "the store is read-only: %s", commits->failure);
	commits->backup = strdup(directory);
	if (commits->backup == NULL)
		return error_memory(error);
	commits->backup_commit = commits->keyspace->last_commit;
	commits->backup_step = BACKUP_COMMITS;
	commits->host.work_in(commits->host.arg, 0);
	return 0;
}

/* Reports commits last, because their clients then send more changes. */
static void work(struct commits *commits)
{
	struct flusher_completion completion;
	uint64_t durable = 0;

	flusher_poll(commits->flusher, &completion);
	commits->flusher_works = completion.works;
	commits->log_bytes = completion.bytes;
	checkpoint_submit(commits->checkpoint, completion.segment - 1);
	poll_checkpoint(commits);
	if (completion.done != NULL) {
		durable = completion.done->commit;
		on_committed(commits, completion.done);
	}
	if (completion.failed)
		note_failure(commits, completion.failure);
	handle_failure(commits, &completion);
	submit_batch(commits);
	if (commits->backup != NULL)
		continue_backup(commits, &completion);
	if (durable != 0)
		commits->host.committed(commits->host.arg, durable, true);
	/* With an interval, a failed batch is kept and tried again; even a reply that had to wait does not promise the disk. */
	if (completion.failed)
		commits->host.committed(
		    commits->host.arg, commits->keyspace->last_commit, !commits->always);
}

/* Starts the threads on what has been loaded. 0, or -1 with the error. */
static int begin(struct commits *commits, struct error *error)
{
	struct loaded loaded;

	loader_detach(commits->loader, &loaded);
	loader_free(commits->loader);
	commits->loader = NULL;
	commits->checkpoint = checkpoint_start(
	    &commits->directory, &loaded.wal.id, loaded.applied, commits->fd, error);
	if (commits->checkpoint == NULL)
		wal_close(&loaded.wal);
	else
		commits->flusher = flusher_start(
		    &loaded.wal, commits->always ? 0 : commits->interval, commits->fd, error);
	if (commits->flusher == NULL) { /* without a table, no command runs */
		table_free(loaded.table);
		return -1;
	}
	commits->keyspace->table = loaded.table;
	return 0;
}

/* Starts the loader, or polls it. */
static void load(struct commits *commits)
{
	struct error *error = &commits->error;
	int result;

	if (commits->loader == NULL) {
		commits->loader = loader_start(&commits->directory, commits->fd, error);
		result = commits->loader == NULL ? -1 : 0;
	} else {
		result = loader_poll(commits->loader, error);
		if (result == 1 && begin(commits, error) == -1)
			result = -1;
	}
	if (result == 0)
		return;
	commits->state = result == 1 ? ENGINE_READY : ENGINE_FAILED;
	commits->host.loaded(commits->host.arg);
}

void commits_work(struct commits *commits)
{
	eventfd_t count;

	/* First, so that what a thread reports behind the poll makes it readable again. */
	eventfd_read(commits->fd, &count);
	commits->work_requested = false;
	commits->reminder = INT64_MAX;
	if (commits->state == ENGINE_LOADING)
		load(commits);
	if (commits->state == ENGINE_READY)
		work(commits);
}

enum engine_state commits_state(const struct commits *commits, struct error *error)
{
	if (commits->state == ENGINE_FAILED)
		*error = commits->error;
	return commits->state;
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
	if (commits->loader != NULL)
		stats->loaded = loader_progress(commits->loader);
	snprintf(stats->failure, sizeof(stats->failure), "%s", commits->failure);
}

int commits_fd(const struct commits *commits)
{
	return commits->fd;
}

struct commits *commits_open(const struct engine_settings *settings, struct keyspace *keyspace,
    const struct engine_host *host, struct error *error)
{
	struct commits *commits = calloc(1, sizeof(*commits));

	if (commits == NULL) {
		error_memory(error);
		return NULL;
	}
	*commits = (struct commits){
		.keyspace = keyspace,
		.host = *host,
		.always = settings->always,
		.interval = settings->interval,
		.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
		.directory = { .lock = -1 },
		.flusher_works = true,
		.checkpoint_works = true,
		.reminder = INT64_MAX,
	};
	if (asprintf(&commits->label, "%s: storage %s", settings->name, settings->directory) ==
	    -1) {
		commits->label = NULL;
		error_memory(error);
	} else if (commits->fd == -1) {
		error_errno(error, "eventfd");
	} else if (directory_open(&commits->directory, settings->directory, true, error) == 0) {
		return commits;
	}
	commits_free(commits, false);
	return NULL;
}

int commits_free(struct commits *commits, bool tidies)
{
	uint64_t segment = 0;
	int result = 0;

	if (commits == NULL)
		return 0;
	loader_free(commits->loader);
	if (commits->flusher != NULL &&
	    flusher_stop(commits->flusher, commits->keyspace->open, &segment) == -1) {
		log_error("%s: the last changes are lost%s", commits->label,
		    commits->always ? ", except those confirmed to clients" : "");
		result = commits->always ? 0 : -1;
	}
	if (segment != 0)
		checkpoint_submit(commits->checkpoint, segment - 1);
	/* A backup is given up, rather than that the loop waits for the rest of the copy. */
	checkpoint_stop(commits->checkpoint,
	    tidies && segment != 0 && commits->log_bytes <= FINISH_MAX && commits->backup == NULL);
	if (commits->fd != -1)
		close(commits->fd);
	directory_close(&commits->directory);
	free(commits->backup);
	free(commits->label);
	free(commits);
	return result;
}
