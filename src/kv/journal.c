/*
 * Committing and recovering. A commit that was reported as failed may be there all the same; then
 * its records are followed by the same ones again, which changes nothing.
 */
#include "kv/journal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "kv/batch.h"
#include "kv/journal_parts.h"

#define MAP_MIN ((size_t)256 << 20) /* bytes of address space, not of disk */

int journal_fail(struct journal *journal, const char *what, int code)
{
	snprintf(journal->medium.failure, sizeof(journal->medium.failure), "%s%s%s",
	    what == NULL ? "" : what, what == NULL ? "" : ": ", mdb_strerror(code));
	return -1;
}

/* --- the environment --- */

static size_t map_size_for(const char *directory)
{
	char path[4096];
	struct stat file;
	size_t size = MAP_MIN;

	snprintf(path, sizeof(path), "%s/data.mdb", directory);
	if (stat(path, &file) == 0)
		while (size < 2 * (uint64_t)file.st_size && size <= SIZE_MAX / 4)
			size *= 2;
	return size;
}

static int set_format(const struct journal *journal, MDB_txn *txn)
{
	MDB_val key = journal_val(JOURNAL_FORMAT_KEY, strlen(JOURNAL_FORMAT_KEY)), found;
	MDB_val format = journal_val(JOURNAL_FORMAT, strlen(JOURNAL_FORMAT));
	int code = mdb_get(txn, journal->meta, &key, &found);

	if (code == 0 && found.mv_size == format.mv_size &&
	    memcmp(found.mv_data, format.mv_data, format.mv_size) == 0)
		return 0;
	return mdb_put(txn, journal->meta, &key, &format, 0);
}

static int measure_log(struct journal *journal, MDB_txn *txn)
{
	MDB_cursor *cursor;
	MDB_val key, record;
	int code = mdb_cursor_open(txn, journal->log, &cursor);

	if (code != 0)
		return code;
	journal->last = journal->log_bytes = 0;
	while ((code = mdb_cursor_get(cursor, &key, &record, MDB_NEXT)) == 0) {
		size_t number;

		memcpy(&number, key.mv_data, sizeof(number));
		journal->last = number;
		journal->log_bytes += record.mv_size - RECORD_HEADER;
	}
	mdb_cursor_close(cursor);
	return code == MDB_NOTFOUND ? 0 : code;
}

static int open_tables(struct journal *journal, unsigned flags)
{
	unsigned create = flags & MDB_RDONLY ? 0 : MDB_CREATE;
	MDB_txn *txn;
	int code = mdb_txn_begin(journal->env, NULL, flags & MDB_RDONLY, &txn);

	if (code != 0)
		return code;
	code = mdb_dbi_open(txn, "meta", create, &journal->meta);
	if (code == 0)
		code = mdb_dbi_open(txn, "data", create, &journal->data);
	if (code == 0)
		code = mdb_dbi_open(txn, "log", create | MDB_INTEGERKEY, &journal->log);
	if (code == 0 && create != 0)
		code = set_format(journal, txn);
	if (code == 0 && create != 0)
		code = measure_log(journal, txn);
	if (code != 0) {
		mdb_txn_abort(txn);
		return code;
	}
	return mdb_txn_commit(txn);
}

/*
 * The sync: after a failed write of the root page LMDB has put the old one back, but not waited for the
 * disk. If that had kept the new one, what is written next would destroy what it points to.
 */
int journal_open_env(struct journal *journal, unsigned flags)
{
	int code = mdb_env_create(&journal->env), fd;

	if (code != 0)
		return code;
	journal->map_size = map_size_for(journal->directory);
	mdb_env_set_maxdbs(journal->env, 3);
	code = mdb_env_set_mapsize(journal->env, journal->map_size);
	if (code == 0)
		code = mdb_env_open(journal->env, journal->directory, MDB_NOTLS | flags, 0600);
	if (code == 0) {
		/* LMDB leaves it open to the programs of exec. */
		mdb_env_get_fd(journal->env, &fd);
		fcntl(fd, F_SETFD, FD_CLOEXEC);
		code = flags & MDB_RDONLY ? 0 : mdb_env_sync(journal->env, 1);
	}
	if (code == 0)
		code = open_tables(journal, flags);
	if (code != 0)
		journal_close_env(journal);
	return code;
}

void journal_close_env(struct journal *journal)
{
	if (journal->env != NULL)
		mdb_env_close(journal->env);
	journal->env = NULL;
}

/* Doubles the map. 0 or a code. */
static int grow(struct journal *journal)
{
	int code;

	fold_abandon(journal);                /* it reads */
	if (journal->map_size > SIZE_MAX / 2) /* on 32-bit machines */
		return ENOMEM;
	code = mdb_env_set_mapsize(journal->env, 2 * journal->map_size);
	if (code == 0)
		journal->map_size *= 2;
	return code;
}

/* --- commits --- */

int journal_write(
    struct journal *journal, int (*put)(struct journal *j, MDB_txn *txn, void *arg), void *arg)
{
	MDB_txn *txn;
	int code;

	do {
		if ((code = mdb_txn_begin(journal->env, NULL, 0, &txn)) != 0)
			break;
		code = put(journal, txn, arg);
		if (code == 0)
			code = mdb_txn_commit(txn);
		else
			mdb_txn_abort(txn);
	} while (code == MDB_MAP_FULL && (code = grow(journal)) == 0);
	return code == 0 ? 0 : journal_fail(journal, "cannot write", code);
}

struct commit {
	const struct batch *batch;
	size_t number; /* of its last record */
};

static int put_batch(struct journal *journal, MDB_txn *txn, void *arg)
{
	struct commit *commit = arg;
	const struct batch *batch = commit->batch;
	struct batch_record *record;
	int code = 0;

	commit->number = (size_t)journal->last;
	TAILQ_FOREACH (record, &batch->records, entry) {
		MDB_val key = journal_val(&commit->number, sizeof(commit->number));
		MDB_val bytes = { record->length, record->bytes };

		commit->number++;
		code = mdb_put(txn, journal->log, &key, &bytes, MDB_APPEND);
		if (code != 0)
			return code;
	}
	if (batch->spool_file != -1)
		code = spool_key_put(
		    txn, journal->meta, (unsigned)batch->spool_file, &batch->next_key);
	return code;
}

static int journal_commit(struct medium *medium, const struct batch *batch)
{
	struct journal *journal = journal_of(medium);
	struct commit commit = { .batch = batch };

	batch_add_checksums(batch);
	if (journal_write(journal, put_batch, &commit) == -1)
		return -1;
	journal->last = commit.number;
	journal->log_bytes += batch->size;
	return 0;
}

/* Writes a page: it is a proof. */
static int put_proof(struct journal *journal, MDB_txn *txn, void *arg)
{
	MDB_val key = journal_val("recovered", strlen("recovered"));
	MDB_val last = journal_val(&journal->last, sizeof(journal->last));

	(void)arg;
	return mdb_put(txn, journal->meta, &key, &last, 0);
}

/* Always a new environment: after some failures LMDB refuses to go on with the old one. */
static int journal_recover(struct medium *medium)
{
	struct journal *journal = journal_of(medium);
	int code;

	fold_abandon(journal);
	journal_close_env(journal);
	code = journal_open_env(journal, 0);
	if (code != 0)
		return journal_fail(journal, "cannot open", code);
	return journal_write(journal, put_proof, NULL);
}

static uint64_t journal_backlog(const struct medium *medium)
{
	return ((const struct journal *)medium)->log_bytes;
}

static void close_medium(struct medium *medium)
{
	journal_close(journal_of(medium));
}

const struct medium_ops journal_ops = {
	.commit = journal_commit,
	.recover = journal_recover,
	.backlog = journal_backlog,
	.fold = journal_fold,
	.close = close_medium,
};

struct medium *journal_medium(struct journal *journal)
{
	return &journal->medium;
}
