/*
 * Folding: the oldest records of the log go into the data table, each key once, and out of the log. A pass
 * takes some records, sorts what they have changed, and writes it in slices, each a transaction of its own
 * that is short enough for a commit to wait for. Whatever of a pass is lost is still in the log.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kv/journal.h"
#include "kv/journal_parts.h"

#define PASS_CHANGES 32768 /* sorting them is a slice, too */
/* A slice ends with whichever comes first; its commit then writes at most about 4 MiB of pages. */
#define SLICE_CHANGES 1024
#define SLICE_NS 2000000

/* A change in the map; the transaction that reads it keeps it where it is. */
struct folded {
	const unsigned char *bytes;
	size_t number; /* the later the newer */
};

struct fold {
	MDB_txn *read;
	size_t last;    /* number of the last record of the pass */
	uint64_t bytes; /* of its changes */
	size_t count, capacity, at;
	size_t end; /* of the slice */
	struct folded *changes;
};

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

void fold_abandon(struct journal *journal)
{
	struct fold *fold = journal->fold;

	if (fold == NULL)
		return;
	if (fold->read != NULL)
		mdb_txn_abort(fold->read);
	free(fold->changes);
	free(fold);
	journal->fold = NULL;
}

static void read_folded(struct change *change, const struct folded *folded)
{
	const unsigned char *at = folded->bytes;

	/* It has been read before, and the map does not change under a reader. */
	change_read(change, &at, folded->bytes + UINT32_MAX);
}

/* --- a pass --- */

static int add_change(struct fold *fold, const unsigned char *bytes)
{
	if (fold->count == fold->capacity) {
		size_t capacity = fold->capacity == 0 ? 1024 : 2 * fold->capacity;
		struct folded *larger = realloc(fold->changes, capacity * sizeof(*larger));

		if (larger == NULL)
			return ENOMEM;
		fold->changes = larger;
		fold->capacity = capacity;
	}
	fold->changes[fold->count] = (struct folded){ bytes, fold->count };
	fold->count++;
	return 0;
}

static int take_record(struct fold *fold, const MDB_val *key, const MDB_val *record)
{
	const unsigned char *at = record->mv_data, *end = at + record->mv_size, *begin;
	struct change change;
	int code = 0;

	if (!record_is_sound(at, record->mv_size))
		return MDB_CORRUPTED;
	begin = at += RECORD_HEADER;
	while (code == 0 && change_read(&change, &at, end) == 1) {
		code = add_change(fold, begin);
		begin = at;
	}
	memcpy(&fold->last, key->mv_data, sizeof(fold->last));
	fold->bytes += record->mv_size - RECORD_HEADER;
	return code;
}

static int take_records(struct fold *fold, MDB_dbi log)
{
	MDB_cursor *cursor;
	MDB_val key, record;
	int code = mdb_cursor_open(fold->read, log, &cursor);

	if (code != 0)
		return code;
	while (fold->count < PASS_CHANGES &&
	       (code = mdb_cursor_get(cursor, &key, &record, MDB_NEXT)) == 0)
		if ((code = take_record(fold, &key, &record)) != 0)
			break;
	mdb_cursor_close(cursor);
	return code == MDB_NOTFOUND ? 0 : code;
}

static int compare_keys(const struct folded *a, const struct folded *b)
{
	struct change x, y;
	int order;

	read_folded(&x, a);
	read_folded(&y, b);
	order = memcmp(x.key, y.key, x.key_length < y.key_length ? x.key_length : y.key_length);
	return order != 0 ? order : (x.key_length > y.key_length) - (x.key_length < y.key_length);
}

static int compare(const void *a, const void *b)
{
	const struct folded *x = a, *y = b;
	int order = compare_keys(x, y);

	return order != 0 ? order : (x->number > y->number) - (x->number < y->number);
}

/* In the order of the keys, of each the newest. */
static void sort(struct fold *fold)
{
	size_t kept = 0;

	qsort(fold->changes, fold->count, sizeof(*fold->changes), compare);
	for (size_t i = 0; i < fold->count; i++)
		if (i + 1 == fold->count ||
		    compare_keys(&fold->changes[i], &fold->changes[i + 1]) != 0)
			fold->changes[kept++] = fold->changes[i];
	fold->count = kept;
}

static int begin_pass(struct journal *journal)
{
	struct fold *fold = journal->fold = calloc(1, sizeof(*fold));
	int code;

	if (fold == NULL)
		return journal_fail(journal, "cannot fold", ENOMEM);
	/* LMDB's tools may have been killed; until that is noticed, no page that they saw is used again. */
	mdb_reader_check(journal->env, NULL);
	code = mdb_txn_begin(journal->env, NULL, MDB_RDONLY, &fold->read);
	if (code == 0)
		code = take_records(fold, journal->log);
	if (code != 0) {
		fold_abandon(journal);
		return journal_fail(journal, "cannot fold", code);
	}
	sort(fold);
	return 0;
}

/* --- a slice --- */

static int put_change(const struct journal *journal, MDB_txn *txn, const struct change *change)
{
	MDB_val key = journal_val(change->key, change->key_length);
	MDB_val kept = { change->value_length + CHECKSUM_SIZE, NULL };
	uint32_t checksum;
	int code;

	if (change->deletion) {
		code = mdb_del(txn, journal->data, &key, NULL);
		return code == MDB_NOTFOUND ? 0 : code;
	}
	if ((code = mdb_put(txn, journal->data, &key, &kept, MDB_RESERVE)) != 0)
		return code;
	checksum = htole32(
	    value_checksum(change->key, change->key_length, change->value, change->value_length));
	memcpy(kept.mv_data, change->value, change->value_length);
	memcpy((char *)kept.mv_data + change->value_length, &checksum, CHECKSUM_SIZE);
	return 0;
}

static int drop_records(const struct journal *journal, MDB_txn *txn, size_t last)
{
	MDB_cursor *cursor;
	MDB_val key, record;
	int code = mdb_cursor_open(txn, journal->log, &cursor);
	size_t number = 0;

	if (code != 0)
		return code;
	while (number < last && (code = mdb_cursor_get(cursor, &key, &record, MDB_FIRST)) == 0) {
		memcpy(&number, key.mv_data, sizeof(number));
		if ((code = mdb_cursor_del(cursor, 0)) != 0)
			break;
	}
	mdb_cursor_close(cursor);
	return code;
}

static int put_slice(struct journal *journal, MDB_txn *txn, void *arg)
{
	struct fold *fold = journal->fold;
	int64_t end = now_ns() + SLICE_NS;
	int code = 0;

	(void)arg;
	if (fold == NULL) /* the map has grown, which has ended the pass */
		return 0;
	fold->end = fold->at;
	while (code == 0 && fold->end < fold->count && fold->end < fold->at + SLICE_CHANGES &&
	       now_ns() < end) {
		struct change change;

		read_folded(&change, &fold->changes[fold->end++]);
		code = put_change(journal, txn, &change);
	}
	if (code == 0 && fold->end == fold->count)
		code = drop_records(journal, txn, fold->last);
	return code;
}

static int fold_slice(struct journal *journal)
{
	struct fold *fold;

	if (journal_write(journal, put_slice, NULL) == -1)
		return -1;
	if ((fold = journal->fold) == NULL)
		return 0;
	fold->at = fold->end;
	if (fold->at == fold->count) {
		journal->log_bytes -= fold->bytes;
		fold_abandon(journal);
	}
	return 0;
}

int journal_fold(struct journal *journal)
{
	return journal->fold == NULL ? begin_pass(journal) : fold_slice(journal);
}
