/* Loading: the table first, then the log, which is newer. */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "core/error.h"

#include "kv/journal.h"
#include "kv/journal_parts.h"

bool data_unpack(const MDB_val *key, const MDB_val *kept, struct change *change)
{
	uint32_t checksum;

	if (kept->mv_size < CHECKSUM_SIZE)
		return false;
	*change = (struct change){
		.key = key->mv_data,
		.key_length = key->mv_size,
		.value = kept->mv_data,
		.value_length = kept->mv_size - CHECKSUM_SIZE,
	};
	memcpy(&checksum, (const char *)change->value + change->value_length, CHECKSUM_SIZE);
	return le32toh(checksum) ==
	       value_checksum(change->key, change->key_length, change->value, change->value_length);
}

struct load {
	struct journal *journal;
	int (*take)(void *arg, const struct change *changes, size_t count);
	void *arg;
	struct change changes[JOURNAL_LOAD_MAX];
	size_t count;
};

static int hand_over(struct load *load)
{
	size_t count = load->count;

	load->count = 0;
	return load->take(load->arg, load->changes, count) == -1 ? ENOMEM : 0;
}

static int load_value(struct load *load, const MDB_val *key, const MDB_val *kept)
{
	if (!data_unpack(key, kept, &load->changes[load->count]))
		return MDB_CORRUPTED;
	return ++load->count == JOURNAL_LOAD_MAX ? hand_over(load) : 0;
}

static int load_record(struct load *load, const MDB_val *key, const MDB_val *record)
{
	const unsigned char *at = record->mv_data, *end = at + record->mv_size;
	int result, code = 0;

	(void)key;

	if (!record_is_valid(at, record->mv_size))
		return MDB_CORRUPTED;
	at += RECORD_HEADER;
	while (code == 0 && (result = change_read(&load->changes[load->count], &at, end)) != 0) {
		if (result == -1)
			return MDB_CORRUPTED;
		if (++load->count == JOURNAL_LOAD_MAX)
			code = hand_over(load);
	}
	return code;
}

static int load_table(struct load *load, MDB_txn *txn, MDB_dbi table,
    int (*take)(struct load *load, const MDB_val *key, const MDB_val *value))
{
	MDB_cursor *cursor;
	MDB_val key, value;
	int code = mdb_cursor_open(txn, table, &cursor);

	if (code != 0)
		return code;
	while ((code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0)
		if ((code = take(load, &key, &value)) != 0)
			break;
	mdb_cursor_close(cursor);
	return code == MDB_NOTFOUND ? 0 : code;
}

static int load_tables(struct load *load, MDB_txn *txn)
{
	int code = load_table(load, txn, load->journal->data, load_value);

	if (code == 0)
		code = load_table(load, txn, load->journal->log, load_record);
	return code == 0 ? hand_over(load) : code;
}

int journal_load(struct journal *journal,
    int (*take)(void *arg, const struct change *changes, size_t count), void *arg,
    struct error *error)
{
	struct load load = { .journal = journal, .take = take, .arg = arg };
	MDB_txn *txn;
	int code = mdb_txn_begin(journal->env, NULL, MDB_RDONLY, &txn);

	if (code == 0) {
		code = load_tables(&load, txn);
		mdb_txn_abort(txn);
	}
	if (code == 0)
		return 0;
	return error_set(
	    error, "cannot load storage %s: %s", journal->directory, mdb_strerror(code));
}
