/* The journal from the inside, for the files that are it: journal and journal_*. */
#ifndef ECHOD_KV_JOURNAL_PARTS_H
#define ECHOD_KV_JOURNAL_PARTS_H

#include <lmdb.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "core/siphash.h"
#include "kv/medium.h"
#include "kv/record.h"

#define JOURNAL_FORMAT "echod-kv 2"
#define JOURNAL_FORMAT_BEFORE "echod-kv 1" /* had no spool, and is read like this one */
#define JOURNAL_FORMAT_KEY "format"

/* A value in the data table is followed by its checksum. */
#define CHECKSUM_SIZE sizeof(uint32_t)

struct error;
struct fold;
struct spool_content;

struct journal {
	struct medium medium;
	char *directory;
	int lock_fd;
	MDB_env *env; /* NULL after a failed recovery */
	size_t map_size;
	MDB_dbi meta, data, log;
	uint64_t last;      /* number of the last record that is committed */
	uint64_t log_bytes; /* of the records up to it */
	struct fold *fold;  /* the pass under way */
};

extern const struct medium_ops journal_ops;

static inline struct journal *journal_of(struct medium *medium)
{
	return (struct journal *)medium;
}

/* Notes what (NULL = that goes without saying) has failed with which LMDB or errno code; -1. */
int journal_fail(struct journal *journal, const char *what, int code);

/* Opens the environment and its tables; `flags` as of mdb_env_open(). 0 or a code. */
int journal_open_env(struct journal *journal, unsigned flags);
void journal_close_env(struct journal *journal);

/*
 * Commits what the function puts into a transaction; it is called again when the map had to grow. It
 * returns 0 or a code. 0, or -1 with the failure noted.
 */
int journal_write(struct journal *journal,
    int (*put)(struct journal *journal, MDB_txn *txn, void *arg), void *arg);

/* What LMDB is to read. Its type has no const, since it is used for what LMDB returns, too. */
static inline MDB_val journal_val(const void *bytes, size_t length)
{
	MDB_val val = { length, NULL };

	memcpy(&val.mv_data, &bytes, sizeof(bytes));
	return val;
}

/* Splits what the data table keeps under a key. false: its checksum is wrong. */
bool data_unpack(const MDB_val *key, const MDB_val *kept, struct change *change);

/* --- journal_check.c --- */

/* Walks all of the environment, in a child process; `used`: it must be there. 0, or -1 with the error. */
int journal_check(const char *directory, bool used, struct error *error);

/* --- journal_pages.c --- */

/* Both return 0, an errno, or MDB_CORRUPTED. */

/* Checks that each page that the transaction can reach has its own number and is used once. */
int journal_pages_check(MDB_txn *txn, int data_fd, size_t page_size, size_t page_count);
/* Checks that the two meta pages belong to consecutive transactions. */
int journal_metas_check(int data_fd, size_t page_size);

/* --- journal_make.c --- */

/* Makes a store in the directory, unless there is one; either is there after a power cut. 0 or a code. */
int journal_make(const char *directory);
/* What was made in it stays. 0 or an errno. */
int journal_sync_directory(const char *path);

/* --- journal_spool.c --- */

/* The key of a file of the spool: 0, or MDB_NOTFOUND when it was never used, or another code. */
int spool_key_get(MDB_txn *txn, MDB_dbi meta, unsigned number, struct siphash_key *key);
int spool_key_put(MDB_txn *txn, MDB_dbi meta, unsigned number, const struct siphash_key *key);

/* What the file holds, which has that key. 0, or an errno. */
int spool_read_file(const char *directory, unsigned number, const struct siphash_key *key,
    struct spool_content *content);

/* Commits what the files of the spool hold. 0, or -1 with the failure noted. */
int journal_take_in(struct journal *journal);

/* --- journal_fold.c --- */

/* Of struct medium_ops. */
int journal_fold(struct medium *medium);

/* Forgets the pass under way; what it has not folded stays in the log. */
void fold_abandon(struct journal *journal);

#endif
