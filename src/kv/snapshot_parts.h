/*
 * The inside of a snapshot, for its own files: snapshot.c opens it and writes to it, snapshot_load.c reads and verifies
 * it, and backup.c copies it.
 */
#ifndef ECHOD_KV_SNAPSHOT_PARTS_H
#define ECHOD_KV_SNAPSHOT_PARTS_H

#include <sqlite3.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "core/buffer.h"
#include "core/slice.h"
#include "kv/snapshot.h"

#define SNAPSHOT_FILE "snapshot.db"
#define SNAPSHOT_CHECKSUM sizeof(uint64_t) /* bytes of it, behind an item */

enum snapshot_statement {
	SQL_GET,
	SQL_PUT,
	SQL_DELETE,
	SQL_BEGIN,
	SQL_COMMIT,
	SQL_ROLLBACK,
	SQL_SET_META,
	SQL_STATEMENTS
};

struct snapshot {
	char path[FILENAME_MAX];
	sqlite3 *db;
	sqlite3_stmt *statements[SQL_STATEMENTS];
	struct snapshot_meta meta;
	const atomic_bool *cancelled;
	struct buffer item; /* that is written; always empty, it only keeps its memory */
};

/* The error for an SQLite code; the verb says what could not be done. Returns -1. */
int snapshot_fail(
    const struct snapshot *snapshot, const char *verb, int result, struct error *error);
/* The errno for SQLITE_READONLY and SQLITE_CANTOPEN at a path; `code` is the errno that SQLite has kept. */
int snapshot_code_of_readonly(const char *path, int result);
int snapshot_code_of_open(const char *path, int result, int code);
/* The error of damage that SQLite has not noticed. Returns -1. */
int snapshot_fail_damaged(const struct snapshot *snapshot, const char *what, struct error *error);

/* Runs a statement that returns no rows. An SQLite code. */
int snapshot_run(sqlite3_stmt *statement);

/* The checksum of an encoded item of so many bytes. */
uint64_t snapshot_item_checksum(const struct slice *key, const void *item, size_t length);
/* The checksum that a stored item ends with; 0 if it is too short for one. */
uint64_t snapshot_stored_checksum(const unsigned char *stored, size_t length);

#endif
