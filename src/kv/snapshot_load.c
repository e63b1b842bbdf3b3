/* SQLite verifies its pages; that the rows are whole and complete follows from their checksums and the table meta. */
#include "kv/snapshot.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

#include "core/buffer.h"
#include "core/error.h"
#include "kv/change.h"
#include "kv/snapshot_parts.h"
#include "kv/table.h"

/* Rows that have been copied, because SQLite keeps a row only until the next one. */
struct rows {
	struct change changes[SNAPSHOT_LOAD_MAX];
	size_t count;
	struct buffer buffer;
	size_t offsets[SNAPSHOT_LOAD_MAX]; /* of the keys */
};

/* Adds a row; its slices are set when the bytes no longer move. 0, or -1 with errno. */
static int add_row(struct rows *rows, const struct slice *key, const void *item, size_t length)
{
	rows->offsets[rows->count] = rows->buffer.length;
	if (buffer_add(&rows->buffer, key->bytes, key->length) == -1 ||
	    buffer_add(&rows->buffer, item, length) == -1)
		return -1;
	rows->changes[rows->count].key.length = key->length;
	rows->changes[rows->count].item.value.length = length; /* for now */
	rows->count++;
	return 0;
}

/* 0, or -1 with errno; EBADMSG: a row is damaged. */
static int hand_over(struct rows *rows,
    int (*each)(void *arg, const struct change *changes, size_t count), void *arg)
{
	size_t count = rows->count;

	for (size_t i = 0; i < count; i++) {
		struct change *change = &rows->changes[i];
		const char *key = rows->buffer.bytes + rows->offsets[i];
		const char *item = key + change->key.length;
		size_t length = change->item.value.length;

		change->key.bytes = key;
		change->deletion = false;
		if (item_read(&change->item, (const unsigned char *)item, length) == -1) {
			errno = EBADMSG;
			return -1;
		}
	}
	rows->count = rows->buffer.length = 0;
	return each(arg, rows->changes, count);
}

/* Checks the row and adds it. 0, or -1 with errno; EBADMSG: it is damaged. */
static int load_row(sqlite3_stmt *row, struct snapshot_meta *found, struct rows *rows)
{
	struct slice key = { sqlite3_column_blob(row, 0), (size_t)sqlite3_column_bytes(row, 0) };
	const unsigned char *item = sqlite3_column_blob(row, 1);
	size_t length = (size_t)sqlite3_column_bytes(row, 1);
	uint64_t checksum = snapshot_stored_checksum(item, length);

	if (length <= SNAPSHOT_CHECKSUM || key.length > TABLE_KEY_MAX ||
	    checksum != snapshot_item_checksum(&key, item, length - SNAPSHOT_CHECKSUM)) {
		errno = EBADMSG;
		return -1;
	}
	found->keys++;
	found->checksum += checksum;
	return add_row(rows, &key, item, length - SNAPSHOT_CHECKSUM);
}

int snapshot_load(struct snapshot *snapshot,
    int (*each)(void *arg, const struct change *changes, size_t count), void *arg,
    struct error *error)
{
	struct snapshot_meta found = { .keys = 0 };
	struct rows rows = { .count = 0 };
	sqlite3_stmt *select = NULL;
	int failed = 0, result;

	result = sqlite3_prepare_v2(snapshot->db, "SELECT key, item FROM kv", -1, &select, NULL);
	while (
	    result == SQLITE_OK && failed == 0 && (result = sqlite3_step(select)) == SQLITE_ROW) {
		result = SQLITE_OK;
		failed = load_row(select, &found, &rows);
		if (failed == 0 && rows.count == SNAPSHOT_LOAD_MAX)
			failed = hand_over(&rows, each, arg);
	}
	if (failed == 0 && result == SQLITE_DONE)
		failed = hand_over(&rows, each, arg);
	if (failed != 0)
		failed = errno == EBADMSG
			     ? snapshot_fail_damaged(snapshot, "a key or its value", error)
			     : error_errno(error, "cannot load %s", snapshot->path);
	else if (result != SQLITE_DONE)
		failed = snapshot_fail(snapshot, "read", result, error);
	else if (found.keys != snapshot->meta.keys)
		failed = snapshot_fail_damaged(snapshot, "keys are missing", error);
	else if (found.checksum != snapshot->meta.checksum)
		failed = snapshot_fail_damaged(snapshot, "values are not the newest ones", error);
	sqlite3_finalize(select);
	free(rows.buffer.bytes);
	return failed;
}

int snapshot_check(struct snapshot *snapshot, struct error *error)
{
	sqlite3_stmt *check = NULL;
	int failed = 0, result;

	result = sqlite3_prepare_v2(snapshot->db, "PRAGMA quick_check(1)", -1, &check, NULL);
	if (result == SQLITE_OK)
		result = sqlite3_step(check);
	if (result != SQLITE_ROW)
		failed = snapshot_fail(snapshot, "check", result, error);
	else if (strcmp((const char *)sqlite3_column_text(check, 0), "ok") != 0)
		failed = snapshot_fail_damaged(
		    snapshot, (const char *)sqlite3_column_text(check, 0), error);
	sqlite3_finalize(check);
	return failed;
}

void snapshot_interrupt(struct snapshot *snapshot)
{
	sqlite3_interrupt(snapshot->db);
}
