/*
 * snapshot.db has the tables kv and meta, which has one row. An item (item.c) is followed by its checksum: XXH3 (64
 * bits), seeded with that of the key. The table meta has the format, the store's identity, the number of transactions, the last
 * segment, the number of keys, the sum of their checksums, and a checksum of all that. SQLite detects errors of the
 * disk and of the page structure, but neither a flipped bit in a row nor a lost row; the checksum and the sum detect
 * these.
 *
 * The rollback journal needs no shared memory, which is a map. With synchronous = EXTRA a transaction is durable when it
 * returns; with FULL, a power failure could restore the journal of the last one, which would undo it.
 */
#include "kv/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/buffer.h"
#include "core/error.h"
#include "core/little_endian.h"
#include "kv/change.h"
#include "kv/snapshot_parts.h"

#define FORMAT "echod-kv 3"
#define BUSY_MS 1000 /* how long a transaction waits for a program that reads */
/* Steps of SQLite's machine between two checks whether the call is cancelled. */
#define PROGRESS_STEPS 5000

static const char *const texts[SQL_STATEMENTS] = {
	[SQL_GET] = "SELECT item FROM kv WHERE key = ?1",
	[SQL_PUT] =
	    "INSERT INTO kv VALUES (?1, ?2) ON CONFLICT (key) DO UPDATE SET item = excluded.item",
	[SQL_DELETE] = "DELETE FROM kv WHERE key = ?1",
	[SQL_BEGIN] = "BEGIN IMMEDIATE",
	[SQL_COMMIT] = "COMMIT",
	[SQL_ROLLBACK] = "ROLLBACK",
	[SQL_SET_META] =
	    "UPDATE meta SET id = ?1, commits = ?2, segment = ?3, keys = ?4, checksum = ?5, "
	    "meta_checksum = ?6",
};

/* --- errors --- */

/* SQLite opens a file for reading if it cannot open it for writing, and does not keep the errno. */
int snapshot_code_of_readonly(const char *path, int result)
{
	if (result == SQLITE_READONLY_DBMOVED)
		return ESTALE;
	if (result == SQLITE_READONLY_DIRECTORY)
		return EACCES;
	return access(path, W_OK) == -1 ? errno : EROFS;
}

/*
 * The file may also be the journal: if SQLite cannot create it, it tries to open it for reading, which fails with ENOENT.
 * If no system call has failed, `code` is an older one.
 */
int snapshot_code_of_open(const char *path, int result, int code)
{
	switch (result) {
	case SQLITE_CANTOPEN_SYMLINK:
		return ELOOP;
	case SQLITE_CANTOPEN_ISDIR:
		return EISDIR;
	case SQLITE_CANTOPEN_FULLPATH:
		return code == 0 || code == EINVAL ? ENAMETOOLONG : code;
	default:
		if (code == ENOENT && access(path, F_OK) == 0)
			return EIO;
		return code == 0 || code == EINVAL ? EIO : code;
	}
}

/* The errno for an SQLite code. */
static int code_of(const struct snapshot *snapshot, int result)
{
	int code = 0;

	if (snapshot->db == NULL)
		return ENOMEM; /* sqlite3_open_v2() had no memory for it */
	sqlite3_file_control(snapshot->db, NULL, SQLITE_FCNTL_LAST_ERRNO, &code);
	/* SQLite also reports a page that the disk cannot read as corrupt. */
	if ((result & 0xff) == SQLITE_CORRUPT && (code == EIO || code == ENXIO))
		return code;
	if (result == SQLITE_IOERR_NOMEM)
		return ENOMEM;
	if (code == 0)
		code = sqlite3_system_errno(snapshot->db);
	switch (result & 0xff) {
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return EBUSY;
	case SQLITE_ERROR: /* a table is missing, or not what it was */
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
		return EBADMSG;
	case SQLITE_FULL:
		return ENOSPC;
	case SQLITE_NOMEM:
		return ENOMEM;
	case SQLITE_INTERRUPT:
		return ECANCELED;
	case SQLITE_PERM:
		return EACCES;
	case SQLITE_READONLY:
		return snapshot_code_of_readonly(snapshot->path, result);
	case SQLITE_CANTOPEN:
		return snapshot_code_of_open(
		    snapshot->path, result, sqlite3_system_errno(snapshot->db));
	default:
		return code != 0 ? code : EIO;
	}
}

int snapshot_fail(
    const struct snapshot *snapshot, const char *verb, int result, struct error *error)
{
	int code = code_of(snapshot, result);

	if (code == EBADMSG)
		return error_code(
		    error, code, "%s is damaged: %s", snapshot->path, sqlite3_errmsg(snapshot->db));
	if (code == EBUSY)
		return error_code(
		    error, code, "cannot %s %s: another program is using it", verb, snapshot->path);
	if (code == ENOENT)
		return error_code(error, code, "%s is missing", snapshot->path);
	if (code == ESTALE && result == SQLITE_READONLY_DBMOVED)
		return error_code(
		    error, code, "%s is missing or was replaced by another file", snapshot->path);
	return error_code(error, code, "cannot %s %s: %s (%s)", verb, snapshot->path,
	    strerror(code), sqlite3_errstr(result));
}

int snapshot_fail_damaged(const struct snapshot *snapshot, const char *what, struct error *error)
{
	return error_code(error, EBADMSG, "%s is damaged: %s", snapshot->path, what);
}

/* --- the tables --- */

uint64_t snapshot_item_checksum(const struct slice *key, const void *bytes, size_t length)
{
	return XXH3_64bits_withSeed(bytes, length, XXH3_64bits(key->bytes, key->length));
}

uint64_t snapshot_stored_checksum(const unsigned char *bytes, size_t length)
{
	return length < SNAPSHOT_CHECKSUM ? 0 : le64_get(bytes + length - SNAPSHOT_CHECKSUM);
}

static uint64_t meta_checksum(const struct snapshot_meta *meta)
{
	unsigned char bytes[STORE_ID_SIZE + 4 * sizeof(uint64_t)];
	unsigned char *numbers = bytes + STORE_ID_SIZE;

	memcpy(bytes, meta->id.bytes, STORE_ID_SIZE);
	le64_put(numbers, meta->commits);
	le64_put(numbers + 8, meta->segment);
	le64_put(numbers + 16, meta->keys);
	le64_put(numbers + 24, meta->checksum);
	return XXH3_64bits(bytes, sizeof(bytes));
}

int snapshot_run(sqlite3_stmt *statement)
{
	int result = sqlite3_step(statement), reset = sqlite3_reset(statement);

	return result == SQLITE_DONE ? reset : result;
}

/*
 * The count of commits makes every transaction change a page. Otherwise a transaction that is repeated because its sync
 * has failed could find its changes in place, and return without a sync. An SQLite code.
 */
static int write_meta(struct snapshot *snapshot, struct snapshot_meta *meta)
{
	sqlite3_stmt *set = snapshot->statements[SQL_SET_META];

	meta->commits++;
	sqlite3_bind_blob(set, 1, meta->id.bytes, STORE_ID_SIZE, SQLITE_STATIC);
	sqlite3_bind_int64(set, 2, (sqlite3_int64)meta->commits);
	sqlite3_bind_int64(set, 3, (sqlite3_int64)meta->segment);
	sqlite3_bind_int64(set, 4, (sqlite3_int64)meta->keys);
	sqlite3_bind_int64(set, 5, (sqlite3_int64)meta->checksum);
	sqlite3_bind_int64(set, 6, (sqlite3_int64)meta_checksum(meta));
	return snapshot_run(set);
}

/* Reads the row of the table `meta`. 0, or -1 with the error. */
static int parse_meta(struct snapshot *snapshot, sqlite3_stmt *row, struct error *error)
{
	struct snapshot_meta *meta = &snapshot->meta;
	const char *format = (const char *)sqlite3_column_text(row, 0);
	const void *id = sqlite3_column_blob(row, 1);

	if (format == NULL || strcmp(format, FORMAT) != 0)
		return error_set(error, "the format of %s is \"%s\", not \"" FORMAT "\"",
		    snapshot->path, format == NULL ? "" : format);
	if (id == NULL || sqlite3_column_bytes(row, 1) != STORE_ID_SIZE)
		return snapshot_fail_damaged(snapshot, "its table \"meta\" is wrong", error);
	memcpy(meta->id.bytes, id, STORE_ID_SIZE);
	meta->commits = (uint64_t)sqlite3_column_int64(row, 2);
	meta->segment = (uint64_t)sqlite3_column_int64(row, 3);
	meta->keys = (uint64_t)sqlite3_column_int64(row, 4);
	meta->checksum = (uint64_t)sqlite3_column_int64(row, 5);
	if ((uint64_t)sqlite3_column_int64(row, 6) != meta_checksum(meta))
		return snapshot_fail_damaged(snapshot, "its table \"meta\" is wrong", error);
	return 0;
}

static int read_meta(struct snapshot *snapshot, struct error *error)
{
	sqlite3_stmt *rows = NULL;
	int failed = -1;
	int result = sqlite3_prepare_v2(snapshot->db,
	    "SELECT format, id, commits, segment, keys, checksum, meta_checksum FROM meta", -1,
	    &rows, NULL);

	if (result == SQLITE_OK)
		result = sqlite3_step(rows);
	if (result == SQLITE_ROW)
		failed = parse_meta(snapshot, rows, error);
	else if (result == SQLITE_DONE)
		snapshot_fail_damaged(snapshot, "its table \"meta\" is empty", error);
	else
		snapshot_fail(snapshot, "read", result, error);
	sqlite3_finalize(rows);
	return failed;
}

/* 0, or -1 with the error: when its creation was interrupted, SQLite has cut it to nothing again. */
static int check_tables(struct snapshot *snapshot, sqlite3_file *file, struct error *error)
{
	sqlite3_stmt *rows;
	sqlite3_int64 size = 0;
	int result = sqlite3_prepare_v2(
	    snapshot->db, "SELECT name FROM sqlite_schema LIMIT 1", -1, &rows, NULL);

	if (result == SQLITE_OK)
		result = sqlite3_step(rows);
	sqlite3_finalize(rows);
	if (result == SQLITE_DONE)
		result = file->pMethods->xFileSize(file, &size);
	if (result == SQLITE_ROW)
		return 0;
	if (result != SQLITE_OK)
		return snapshot_fail(snapshot, "read", result, error);
	return size == 0 ? error_code(error, ENOENT, "%s is empty", snapshot->path)
			 : snapshot_fail_damaged(snapshot, "it has no tables", error);
}

/*
 * The header has the version of the format that a writer must know, and the one for a reader. SQLite would call a file
 * with a later version read-only, which hides the damage. 0, or -1 with the error.
 */
static int check_versions(struct snapshot *snapshot, sqlite3_file *file, struct error *error)
{
	unsigned char versions[2];
	int result = file->pMethods->xRead(file, versions, sizeof(versions), 18);

	if (result != SQLITE_OK)
		return snapshot_fail(snapshot, "read", result, error);
	if (versions[0] != 1 || versions[1] != 1)
		return snapshot_fail_damaged(snapshot, "its header is wrong", error);
	return 0;
}

/* Checks for damage that SQLite does not report as such. 0, or -1 with the error. */
static int check_file(struct snapshot *snapshot, struct error *error)
{
	sqlite3_file *file;
	int result = sqlite3_file_control(snapshot->db, NULL, SQLITE_FCNTL_FILE_POINTER, &file);

	if (result != SQLITE_OK)
		return snapshot_fail(snapshot, "read", result, error);
	return check_tables(snapshot, file, error) == -1 ? -1
							 : check_versions(snapshot, file, error);
}

/* --- opening --- */

static int is_cancelled(void *arg)
{
	const struct snapshot *snapshot = arg;

	return snapshot->cancelled != NULL && *snapshot->cancelled;
}

/*
 * SQLITE_OPEN_NOFOLLOW would refuse a symbolic link anywhere in the path, but the directory may be reached by one. SQLite
 * itself would wait for a pipe. 0, or -1 with the error.
 */
static int check_kind(const struct snapshot *snapshot, struct error *error)
{
	struct stat file;

	if (lstat(snapshot->path, &file) == -1)
		return errno == ENOENT ? error_code(error, ENOENT, "%s is missing", snapshot->path)
				       : error_errno(error, "cannot open %s", snapshot->path);
	if (S_ISLNK(file.st_mode))
		return error_code(error, ELOOP,
		    "%s is a symbolic link: only its directory may be reached by one",
		    snapshot->path);
	if (!S_ISREG(file.st_mode))
		return error_code(error, EINVAL, "%s is not a regular file", snapshot->path);
	return 0;
}

/* Opens the file, which must be there. 0, or -1 with the error. */
static int open_database(struct snapshot *snapshot, struct error *error)
{
	static const char settings[] = "PRAGMA journal_mode = TRUNCATE;"
				       "PRAGMA synchronous = EXTRA;"
				       "PRAGMA mmap_size = 0;"
				       "PRAGMA temp_store = MEMORY;"
				       "PRAGMA cell_size_check = ON;"
				       "PRAGMA trusted_schema = OFF;";
	int result;

	if (check_kind(snapshot, error) == -1)
		return -1;
	result = sqlite3_open_v2(
	    snapshot->path, &snapshot->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL);
	if (result != SQLITE_OK && snapshot->db != NULL)
		result = sqlite3_extended_errcode(snapshot->db);
	if (result == SQLITE_OK) {
		sqlite3_extended_result_codes(snapshot->db, 1);
		sqlite3_busy_timeout(snapshot->db, BUSY_MS);
		sqlite3_progress_handler(snapshot->db, PROGRESS_STEPS, is_cancelled, snapshot);
		sqlite3_db_config(snapshot->db, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
		result = sqlite3_exec(snapshot->db, settings, NULL, NULL, NULL);
	}
	return result == SQLITE_OK ? 0 : snapshot_fail(snapshot, "open", result, error);
}

static struct snapshot *snapshot_new(
    const struct directory *directory, const atomic_bool *cancelled, struct error *error)
{
	struct snapshot *snapshot = calloc(1, sizeof(*snapshot));

	if (snapshot == NULL) {
		error_memory(error);
		return NULL;
	}
	directory_path(directory, SNAPSHOT_FILE, snapshot->path);
	snapshot->cancelled = cancelled;
	return snapshot;
}

int snapshot_create(
    const struct directory *directory, const struct store_id *id, struct error *error)
{
	static const char schema[] =
	    "BEGIN;"
	    "PRAGMA application_id = 0x6563686f;"
	    "CREATE TABLE kv (key BLOB PRIMARY KEY, item BLOB NOT NULL) WITHOUT ROWID;"
	    "CREATE TABLE meta (format TEXT, id BLOB, commits INTEGER, segment INTEGER, keys INTEGER, "
	    "checksum INTEGER, meta_checksum INTEGER);"
	    "INSERT INTO meta (format) VALUES ('" FORMAT "');";
	struct snapshot *snapshot = snapshot_new(directory, NULL, error);
	sqlite3_stmt *set = NULL;
	int fd, result;

	if (snapshot == NULL)
		return -1;
	/* SQLite would create it with a mode that lets others read it. */
	fd = open(snapshot->path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd == -1) {
		error_errno(error, "cannot create %s", snapshot->path);
		snapshot_close(snapshot);
		return -1;
	}
	close(fd);
	if (open_database(snapshot, error) == -1) {
		snapshot_close(snapshot);
		return -1;
	}
	snapshot->meta.id = *id;
	result = sqlite3_exec(snapshot->db, schema, NULL, NULL, NULL);
	if (result == SQLITE_OK)
		result = sqlite3_prepare_v2(snapshot->db, texts[SQL_SET_META], -1, &set, NULL);
	snapshot->statements[SQL_SET_META] = set;
	if (result == SQLITE_OK)
		result = write_meta(snapshot, &snapshot->meta);
	if (result == SQLITE_OK)
		result = sqlite3_exec(snapshot->db, "COMMIT", NULL, NULL, NULL);
	if (result != SQLITE_OK)
		snapshot_fail(snapshot, "create", result, error);
	else if (directory_sync(directory) == -1)
		result = error_errno(error, "cannot create %s", snapshot->path);
	snapshot_close(snapshot);
	return result == SQLITE_OK ? 0 : -1;
}

struct snapshot *snapshot_open(
    const struct directory *directory, const atomic_bool *cancelled, struct error *error)
{
	struct snapshot *snapshot = snapshot_new(directory, cancelled, error);
	int result = SQLITE_OK;

	if (snapshot == NULL)
		return NULL;
	if (open_database(snapshot, error) == -1 || check_file(snapshot, error) == -1 ||
	    read_meta(snapshot, error) == -1)
		goto fail;
	for (int i = 0; i < SQL_STATEMENTS && result == SQLITE_OK; i++)
		result = sqlite3_prepare_v3(snapshot->db, texts[i], -1, SQLITE_PREPARE_PERSISTENT,
		    &snapshot->statements[i], NULL);
	if (result == SQLITE_OK)
		return snapshot;
	snapshot_fail(snapshot, "open", result, error);
fail:
	snapshot_close(snapshot);
	return NULL;
}

void snapshot_close(struct snapshot *snapshot)
{
	if (snapshot == NULL)
		return;
	for (int i = 0; i < SQL_STATEMENTS; i++)
		sqlite3_finalize(snapshot->statements[i]);
	sqlite3_close(snapshot->db);
	free(snapshot->item.bytes);
	free(snapshot);
}

const struct snapshot_meta *snapshot_meta(const struct snapshot *snapshot)
{
	return &snapshot->meta;
}

/* --- writing --- */

/* The checksum of the key's stored item is taken out of the sum; there may be none. An SQLite code. */
static int subtract(struct snapshot *snapshot, const struct slice *key, struct snapshot_meta *meta)
{
	sqlite3_stmt *get = snapshot->statements[SQL_GET];
	int result;

	sqlite3_bind_blob64(get, 1, key->bytes, key->length, SQLITE_STATIC);
	result = sqlite3_step(get);
	if (result == SQLITE_ROW) {
		meta->checksum -= snapshot_stored_checksum(
		    sqlite3_column_blob(get, 0), (size_t)sqlite3_column_bytes(get, 0));
		meta->keys--;
		result = SQLITE_DONE;
	}
	sqlite3_reset(get);
	return result == SQLITE_DONE ? SQLITE_OK : result;
}

static int put(struct snapshot *snapshot, const struct change *change, struct snapshot_meta *meta)
{
	size_t length = item_size(&change->item);
	sqlite3_stmt *put = snapshot->statements[SQL_PUT];
	unsigned char *bytes = buffer_room(&snapshot->item, length + SNAPSHOT_CHECKSUM);
	uint64_t checksum;

	if (bytes == NULL)
		return SQLITE_NOMEM;
	item_write(&change->item, bytes);
	checksum = snapshot_item_checksum(&change->key, bytes, length);
	le64_put(bytes + length, checksum);
	meta->checksum += checksum;
	meta->keys++;
	sqlite3_bind_blob64(put, 1, change->key.bytes, change->key.length, SQLITE_STATIC);
	sqlite3_bind_blob64(put, 2, bytes, length + SNAPSHOT_CHECKSUM, SQLITE_STATIC);
	return snapshot_run(put);
}

static int apply(struct snapshot *snapshot, const struct change *change, struct snapshot_meta *meta)
{
	sqlite3_stmt *delete = snapshot->statements[SQL_DELETE];
	int result = subtract(snapshot, &change->key, meta);

	if (result != SQLITE_OK)
		return result;
	if (!change->deletion)
		return put(snapshot, change, meta);
	sqlite3_bind_blob64(delete, 1, change->key.bytes, change->key.length, SQLITE_STATIC);
	return snapshot_run(delete);
}

int snapshot_apply(struct snapshot *snapshot, const struct change *const *changes, size_t count,
    uint64_t segment, struct error *error)
{
	struct snapshot_meta meta = snapshot->meta;
	int result = snapshot_run(snapshot->statements[SQL_BEGIN]);

	for (size_t i = 0; i < count && result == SQLITE_OK; i++)
		result =
		    is_cancelled(snapshot) ? SQLITE_INTERRUPT : apply(snapshot, changes[i], &meta);
	meta.segment = segment;
	if (result == SQLITE_OK)
		result = write_meta(snapshot, &meta);
	if (result == SQLITE_OK)
		result = snapshot_run(snapshot->statements[SQL_COMMIT]);
	if (result == SQLITE_OK) {
		snapshot->meta = meta;
		return 0;
	}
	snapshot_fail(snapshot, "write", result, error);
	/* Some errors have rolled it back already. */
	if (!sqlite3_get_autocommit(snapshot->db))
		snapshot_run(snapshot->statements[SQL_ROLLBACK]);
	return -1;
}
