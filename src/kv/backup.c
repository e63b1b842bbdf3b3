/* SQLite copies the rows; the copy then gets an identity and an empty log. */
#include "kv/backup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "core/error.h"
#include "kv/directory.h"
#include "kv/snapshot_parts.h"
#include "kv/wal.h"
#include "kv/wal_reader.h"

/*
 * What a copy is said to have of the log. Not 0: a log that begins with the first segment belongs to a new store, whose
 * snapshot is made after it, and without its snapshot the copy would pass for one and start empty.
 */
#define COPY_SEGMENT 1

static int count_rows(void *arg, const struct change *changes, size_t count)
{
	uint64_t *keys = arg;

	(void)changes;
	*keys += count;
	return 0;
}

/* The errors of what only happens to the copy: the snapshot is only read. */
static bool is_of_copy(int result)
{
	switch (result) {
	case SQLITE_FULL:
	case SQLITE_IOERR_WRITE:
	case SQLITE_IOERR_FSYNC:
	case SQLITE_IOERR_DIR_FSYNC:
	case SQLITE_IOERR_TRUNCATE:
	case SQLITE_IOERR_DELETE:
		return true;
	default:
		return (result & 0xff) == SQLITE_CANTOPEN || (result & 0xff) == SQLITE_READONLY;
	}
}

static int fail_copy(
    const struct snapshot *snapshot, const char *path, int result, struct error *error)
{
	int code = sqlite3_system_errno(snapshot->db);

	if (!is_of_copy(result))
		return snapshot_fail(snapshot, "copy", result, error);
	if (result == SQLITE_FULL)
		code = ENOSPC;
	else if ((result & 0xff) == SQLITE_READONLY)
		code = snapshot_code_of_readonly(path, result);
	else if ((result & 0xff) == SQLITE_CANTOPEN)
		code = snapshot_code_of_open(path, result, code);
	else if (code == 0)
		code = EIO;
	return error_code(
	    error, code, "cannot write %s: %s (%s)", path, strerror(code), sqlite3_errstr(result));
}

/* Copies the database as it is. 0, or -1 with the error. */
static int copy_rows(struct snapshot *snapshot, const char *path, struct error *error)
{
	sqlite3_stmt *copy_into = NULL;
	int result = sqlite3_prepare_v2(snapshot->db, "VACUUM INTO ?1", -1, &copy_into, NULL);

	if (result == SQLITE_OK) {
		sqlite3_bind_text(copy_into, 1, path, -1, SQLITE_STATIC);
		result = snapshot_run(copy_into);
	}
	if (result != SQLITE_OK)
		fail_copy(snapshot, path, result, error);
	sqlite3_finalize(copy_into);
	return result == SQLITE_OK ? 0 : -1;
}

/* Gives the copy its identity, on the disk with all of its pages, and reads it. 0, or -1 with the error. */
static int finish_copy(struct directory *to, const struct store_id *id,
    const atomic_bool *cancelled, uint64_t *keys, struct error *error)
{
	struct snapshot *copy = snapshot_open(to, cancelled, error);
	int result;

	if (copy == NULL)
		return -1;
	copy->meta.id = *id;
	result = snapshot_apply(copy, NULL, 0, COPY_SEGMENT, error);
	if (result == 0)
		result = snapshot_load(copy, count_rows, keys, error);
	snapshot_close(copy);
	return result;
}

/* Removes the database, and the journal that SQLite may have left beside it. */
static void remove_copy(const struct directory *to)
{
	char path[FILENAME_MAX];

	directory_path(to, SNAPSHOT_FILE "-journal", path);
	unlink(path);
	directory_path(to, SNAPSHOT_FILE, path);
	unlink(path);
}

static int copy_store(
    struct snapshot *snapshot, struct directory *to, uint64_t *keys, struct error *error)
{
	char path[FILENAME_MAX];
	struct store_id id;
	int fd, result;

	directory_path(to, SNAPSHOT_FILE, path);
	/* Empty, which SQLite accepts; and it does not have to know about modes. */
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd == -1 && errno == EEXIST)
		return error_set(error, "%s has a store already", to->path);
	if (fd == -1)
		return error_errno(error, "cannot create %s", path);
	close(fd);
	result = getrandom(&id, sizeof(id), 0) == -1 ? error_errno(error, "getrandom") : 0;
	if (result == 0)
		result = copy_rows(snapshot, path, error);
	if (result == 0)
		result = finish_copy(to, &id, snapshot->cancelled, keys, error);
	/* The log last: without a log, an incomplete copy cannot be opened. */
	if (result == 0)
		result = wal_create(to, &id, COPY_SEGMENT, error);
	if (result == -1)
		remove_copy(to);
	return result;
}

int backup_make(struct snapshot *snapshot, const struct directory *from, const char *path,
    uint64_t *keys, struct error *error)
{
	struct directory to;
	int result;

	*keys = 0;
	if (directory_contains(from, path))
		return error_set(error, "%s is in the store that it is to be a copy of", path);
	result = directory_open(&to, path, true, error);
	if (result == 0 && (result = wal_is_unused(&to, error)) == 0)
		result = error_set(error, "%s has a store already", path);
	if (result == 1)
		result = copy_store(snapshot, &to, keys, error);
	if (result == -1) /* a full disk has room again, and a retry finds no store in it */
		directory_remove_made(&to);
	directory_close(&to);
	return result;
}
