/*
 * Folding: the oldest records of the log go into the data table, each key once, and out of the log. A pass
 * takes some records in sorted runs, and merges these into the table in slices. Each of these steps is short
 * enough for a commit to wait for it. Whatever of a pass is lost is still in the log.
 */
#include <endian.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kv/journal.h"
#include "kv/journal_parts.h"

#define RUN_CHANGES 16384 /* sorting them takes as long as a slice */
#define RUNS 16 /* of a pass: the more it takes, the more changes of a page come together */
/* A slice ends with whichever comes first; its commit then writes at most about 4 MiB of pages. */
#define SLICE_CHANGES 1024
#define SLICE_NS 2000000

/* A change in the map; the transaction that reads it keeps it where it is. */
struct folded {
	const unsigned char *bytes;
	const void *key;
	uint32_t number; /* the later the newer */
	uint16_t key_length;
};

/* In the order of the keys, of each the newest. */
struct run {
	struct folded *changes;
	size_t count, at;
};

struct fold {
	MDB_txn *read;
	MDB_cursor *log;
	size_t last;           /* number of the last record of the pass */
	uint64_t bytes;        /* of its changes */
	struct run runs[RUNS]; /* the later the newer */
	size_t run_count;
	bool taken;  /* no run is to come */
	bool merged; /* nor is any change left in one */
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
	if (fold->log != NULL)
		mdb_cursor_close(fold->log);
	if (fold->read != NULL)
		mdb_txn_abort(fold->read);
	for (size_t i = 0; i < fold->run_count; i++)
		free(fold->runs[i].changes);
	free(fold);
	journal->fold = NULL;
}

static int compare_keys(const struct folded *a, const struct folded *b)
{
	size_t shorter = a->key_length < b->key_length ? a->key_length : b->key_length;
	int order = memcmp(a->key, b->key, shorter);

	return order != 0 ? order
			  : (a->key_length > b->key_length) - (a->key_length < b->key_length);
}

/* --- the runs --- */

static int add_change(struct run *run, const unsigned char *bytes, const struct change *change)
{
	/* Doubles at each power of two. */
	if ((run->count & (run->count - 1)) == 0) {
		size_t capacity = run->count == 0 ? 1 : 2 * run->count;
		struct folded *larger = realloc(run->changes, capacity * sizeof(*larger));

		if (larger == NULL)
			return ENOMEM;
		run->changes = larger;
	}
	run->changes[run->count] = (struct folded){
		.bytes = bytes,
		.key = change->key,
		.number = (uint32_t)run->count,
		.key_length = (uint16_t)change->key_length,
	};
	run->count++;
	return 0;
}

static int take_record(
    struct fold *fold, struct run *run, const MDB_val *key, const MDB_val *record)
{
	const unsigned char *at = record->mv_data, *end = at + record->mv_size, *begin;
	struct change change;
	int code = 0;

	if (!record_is_valid(at, record->mv_size))
		return MDB_CORRUPTED;
	begin = at += RECORD_HEADER;
	while (code == 0 && change_read(&change, &at, end) == 1) {
		code = add_change(run, begin, &change);
		begin = at;
	}
	memcpy(&fold->last, key->mv_data, sizeof(fold->last));
	fold->bytes += record->mv_size - RECORD_HEADER;
	return code;
}

static int take_records(struct fold *fold, struct run *run)
{
	MDB_val key, record;
	int code = 0;

	while (code == 0 && run->count < RUN_CHANGES &&
	       (code = mdb_cursor_get(fold->log, &key, &record, MDB_NEXT)) == 0)
		code = take_record(fold, run, &key, &record);
	fold->taken = code == MDB_NOTFOUND || fold->run_count == RUNS;
	return code == MDB_NOTFOUND ? 0 : code;
}

static int compare(const void *a, const void *b)
{
	const struct folded *x = a, *y = b;
	int order = compare_keys(x, y);

	return order != 0 ? order : (x->number > y->number) - (x->number < y->number);
}

static void sort(struct run *run)
{
	size_t kept = 0;

	if (run->count == 0)
		return;
	qsort(run->changes, run->count, sizeof(*run->changes), compare);
	for (size_t i = 0; i < run->count; i++)
		if (i + 1 == run->count ||
		    compare_keys(&run->changes[i], &run->changes[i + 1]) != 0)
			run->changes[kept++] = run->changes[i];
	run->count = kept;
}

static int fold_take_run(struct journal *journal)
{
	struct fold *fold = journal->fold;
	struct run *run = &fold->runs[fold->run_count++];
	int code = take_records(fold, run);

	if (code == 0) {
		sort(run);
		return 0;
	}
	fold_abandon(journal);
	return journal_fail(journal, "cannot fold", code);
}

static int fold_begin(struct journal *journal)
{
	struct fold *fold = journal->fold = calloc(1, sizeof(*fold));
	int code;

	if (fold == NULL)
		return journal_fail(journal, "cannot fold", ENOMEM);
	/* LMDB's tools may have been killed; until that is noticed, no page that they saw is used again. */
	mdb_reader_check(journal->env, NULL);
	code = mdb_txn_begin(journal->env, NULL, MDB_RDONLY, &fold->read);
	if (code == 0)
		code = mdb_cursor_open(fold->read, journal->log, &fold->log);
	if (code == 0)
		return 0;
	fold_abandon(journal);
	return journal_fail(journal, "cannot fold", code);
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

/* The next key's newest change, or NULL when there is none. */
static const struct folded *next_change(struct fold *fold)
{
	struct run *next = NULL;

	for (size_t i = 0; i < fold->run_count; i++) {
		struct run *run = &fold->runs[i];
		int order = -1;

		if (run->at == run->count)
			continue;
		if (next != NULL)
			order = compare_keys(&run->changes[run->at], &next->changes[next->at]);
		if (order == 0)
			next->at++; /* this run's is newer */
		if (order <= 0)
			next = run;
	}
	return next == NULL ? NULL : &next->changes[next->at++];
}

static int merge_some(struct journal *journal, MDB_txn *txn, int64_t end)
{
	struct fold *fold = journal->fold;
	const struct folded *folded;
	struct change change;
	int code = 0;

	for (int i = 0; code == 0 && i < SLICE_CHANGES && now_ns() < end; i++) {
		const unsigned char *at;

		if ((folded = next_change(fold)) == NULL) {
			fold->merged = true;
			break;
		}
		at = folded->bytes;
		/* It has been read before, and the map does not change under a reader. */
		change_read(&change, &at, at + UINT32_MAX);
		code = put_change(journal, txn, &change);
	}
	return code;
}

/* MDB_NOTFOUND when the pass is over. */
static int drop_some(struct journal *journal, MDB_txn *txn, int64_t end)
{
	MDB_cursor *cursor;
	MDB_val key, record;
	int code = mdb_cursor_open(txn, journal->log, &cursor);
	size_t number;

	if (code != 0)
		return code;
	do {
		if ((code = mdb_cursor_get(cursor, &key, &record, MDB_FIRST)) != 0)
			break;
		memcpy(&number, key.mv_data, sizeof(number));
		code = number > journal->fold->last ? MDB_NOTFOUND : mdb_cursor_del(cursor, 0);
	} while (code == 0 && now_ns() < end);
	mdb_cursor_close(cursor);
	return code;
}

static int put_slice(struct journal *journal, MDB_txn *txn, void *arg)
{
	int64_t end = now_ns() + SLICE_NS;
	bool *over = arg;
	int code = 0;

	if (journal->fold == NULL) /* the map has grown, which has ended the pass */
		return 0;
	if (!journal->fold->merged)
		code = merge_some(journal, txn, end);
	if (code == 0 && journal->fold->merged)
		code = drop_some(journal, txn, end);
	*over = code == MDB_NOTFOUND;
	return *over ? 0 : code;
}

static int fold_slice(struct journal *journal)
{
	bool over = false;

	if (journal_write(journal, put_slice, &over) == -1)
		return -1;
	if (journal->fold != NULL && over) {
		journal->log_bytes -= journal->fold->bytes;
		fold_abandon(journal);
	}
	return 0;
}

int journal_fold(struct medium *medium)
{
	struct journal *journal = journal_of(medium);

	if (journal->fold == NULL && fold_begin(journal) == -1)
		return -1;
	return journal->fold->taken ? fold_slice(journal) : fold_take_run(journal);
}
