/*
 * What the journal knows of its spool: the keys of the files. A key is exchanged by the same transaction that
 * commits what its file holds, so that it is always either in the file or in the log.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "kv/batch.h"
#include "kv/journal.h"
#include "kv/journal_parts.h"
#include "kv/spool.h"

/* --- the keys --- */

static MDB_val name_of(unsigned number, char name[16])
{
	return journal_val(name, (size_t)snprintf(name, 16, SPOOL_NAME, number));
}

int spool_key_get(MDB_txn *txn, MDB_dbi meta, unsigned number, struct siphash_key *key)
{
	char name[16];
	MDB_val name_val = name_of(number, name), val;
	int code = mdb_get(txn, meta, &name_val, &val);

	if (code == 0 && val.mv_size != sizeof(*key))
		code = MDB_CORRUPTED;
	if (code != 0)
		return code;
	memcpy(key, val.mv_data, sizeof(*key));
	*key = (struct siphash_key){ le64toh(key->k0), le64toh(key->k1) };
	return 0;
}

int spool_key_put(MDB_txn *txn, MDB_dbi meta, unsigned number, const struct siphash_key *key)
{
	struct siphash_key stored = { htole64(key->k0), htole64(key->k1) };
	char name[16];
	MDB_val name_val = name_of(number, name), val = journal_val(&stored, sizeof(stored));

	return mdb_put(txn, meta, &name_val, &val, 0);
}

static int put_keys(struct journal *journal, MDB_txn *txn, void *arg)
{
	const struct siphash_key *keys = arg;
	int code = 0;

	for (unsigned i = 0; i < SPOOL_FILES && code == 0; i++)
		code = spool_key_put(txn, journal->meta, i, &keys[i]);
	return code;
}

/* --- what is in the files --- */

int spool_read_file(const char *directory, unsigned number, const struct siphash_key *key,
    struct spool_content *content)
{
	char path[4096];
	int fd, code;

	snprintf(path, sizeof(path), "%s/" SPOOL_NAME, directory, number);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd == -1)
		return errno;
	code = spool_read(fd, key, content);
	close(fd);
	return code;
}

static int read_keyed_file(
    const struct journal *journal, MDB_txn *txn, unsigned number, struct spool_content *content)
{
	struct siphash_key key;
	int code = spool_key_get(txn, journal->meta, number, &key);

	if (code == 0)
		code = spool_read_file(journal->directory, number, &key, content);
	if (code == MDB_NOTFOUND || code == ENOENT)
		return 0;
	if (code == 0 && content->batch != NULL) {
		content->batch->spool_file = (int)number;
		code = siphash_key_random(&content->batch->next_key) == -1 ? errno : 0;
	}
	return code;
}

static int read_files(const struct journal *journal, struct spool_content contents[SPOOL_FILES])
{
	MDB_txn *txn;
	int code = mdb_txn_begin(journal->env, NULL, MDB_RDONLY, &txn);

	if (code != 0)
		return code;
	for (unsigned i = 0; i < SPOOL_FILES && code == 0; i++)
		code = read_keyed_file(journal, txn, i, &contents[i]);
	mdb_txn_abort(txn);
	return code;
}

static int commit_content(struct journal *journal, const struct spool_content *content)
{
	if (content->batch == NULL)
		return 0;
	return journal->medium.ops->commit(&journal->medium, content->batch);
}

static bool is_missing(const char *directory, unsigned number)
{
	char path[4096];
	struct stat file;

	snprintf(path, sizeof(path), "%s/" SPOOL_NAME, directory, number);
	return stat(path, &file) == -1 && errno == ENOENT;
}

/* What LMDB's tools have copied has the keys, but no files; it is to be like a store that never had any. */
static int drop_keys(struct journal *journal, MDB_txn *txn, void *arg)
{
	int code = 0;

	(void)arg;
	for (unsigned i = 0; i < SPOOL_FILES && code == 0; i++) {
		char name[16];
		MDB_val name_val = name_of(i, name);

		if (is_missing(journal->directory, i))
			code = mdb_del(txn, journal->meta, &name_val, NULL);
		if (code == MDB_NOTFOUND)
			code = 0;
	}
	return code;
}

int journal_take_in(struct journal *journal)
{
	struct spool_content contents[SPOOL_FILES] = { 0 };
	int code = read_files(journal, contents);
	int older = contents[0].first <= contents[1].first ? 0 : 1;
	int result = code == 0 ? 0 : journal_fail(journal, "cannot read its spool", code);

	if (result == 0)
		result = commit_content(journal, &contents[older]);
	if (result == 0)
		result = commit_content(journal, &contents[!older]);
	if (result == 0)
		result = journal_write(journal, drop_keys, NULL);
	for (int i = 0; i < SPOOL_FILES; i++)
		batch_free(contents[i].batch);
	return result;
}

/* --- the spool --- */

static int random_keys(struct siphash_key keys[SPOOL_FILES])
{
	for (int i = 0; i < SPOOL_FILES; i++)
		if (siphash_key_random(&keys[i]) == -1)
			return -1;
	return 0;
}

struct spool *journal_spool(struct journal *journal, struct error *error)
{
	struct siphash_key keys[SPOOL_FILES];
	struct spool *spool = random_keys(keys) == -1 ? NULL : spool_open(journal->directory, keys);
	int code = spool == NULL ? errno : journal_sync_directory(journal->directory);

	if (code != 0)
		error_set(error, "cannot make the spool of storage %s: %s", journal->directory,
		    strerror(code));
	else if ((code = journal_write(journal, put_keys, keys)) != 0)
		error_set(error, "storage %s: %s", journal->directory, journal->medium.failure);
	if (code == 0)
		return spool;
	if (spool != NULL)
		spool->medium.ops->close(&spool->medium);
	return NULL;
}
