/* The snapshot first, then the WAL, which is newer. */
#include "kv/loader.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "core/error.h"
#include "core/thread.h"
#include "kv/change.h"
#include "kv/snapshot.h"
#include "kv/table.h"
#include "kv/wal_reader.h"

#define REPLAY_CANCEL 1024 /* changes between two looks at whether the load is cancelled */

struct loader {
	pthread_t thread;
	struct directory *directory;
	int fd;
	atomic_bool cancelled, done;
	atomic_uint_fast64_t progress;
	/* The thread's, until it is done: */
	struct loaded loaded;
	bool failed;
	struct error error;
};

static int set_item(struct table *table, const struct table_key *key, const struct change *change)
{
	if (!change->deletion)
		return table_set(table, key, &change->item);
	table_delete(table, key);
	return 0;
}

static int load_rows(void *arg, const struct change *changes, size_t count)
{
	struct loader *loader = arg;
	struct table *table = loader->loaded.table;
	struct table_key keys[SNAPSHOT_LOAD_MAX];

	if (loader->cancelled) { /* on a slow disk, SQLite calls its own handler too rarely */
		errno = ECANCELED;
		return -1;
	}
	for (size_t i = 0; i < count; i++) {
		keys[i] = (struct table_key){ changes[i].key.bytes, changes[i].key.length, 0 };
		table_hash_and_prefetch(table, &keys[i]);
	}
	for (size_t i = 0; i < count; i++)
		if (set_item(table, &keys[i], &changes[i]) == -1)
			return -1;
	loader->progress += count;
	return 0;
}

static int replay_change(void *arg, const struct change *change)
{
	struct loader *loader = arg;
	struct table_key key = { change->key.bytes, change->key.length, 0 };

	if (++loader->progress % REPLAY_CANCEL == 0 && loader->cancelled) {
		errno = ECANCELED;
		return -1;
	}
	table_hash_and_prefetch(loader->loaded.table, &key);
	return set_item(loader->loaded.table, &key, change);
}

/* The log first: a snapshot without a log is one that has lost it. 0, or -1 with the error. */
static int create(struct directory *directory, struct error *error)
{
	struct store_id id;

	if (getrandom(&id, sizeof(id), 0) == -1)
		return error_errno(error, "getrandom");
	return wal_create(directory, &id, 0, error) == -1 ? -1
							  : snapshot_create(directory, &id, error);
}

/* Opens the snapshot; in an empty directory creates the store first, if it may. NULL with the error. */
static struct snapshot *open_snapshot(struct loader *loader, bool may_create, struct error *error)
{
	struct snapshot *snapshot = snapshot_open(loader->directory, &loader->cancelled, error);
	char path[FILENAME_MAX];
	struct error why;
	struct stat file;
	int is_unused;

	if (snapshot != NULL || error->code != ENOENT)
		return snapshot;
	directory_path(loader->directory, "data.mdb", path);
	if (stat(path, &file) == 0) {
		error_set(error,
		    "it is a store of echod 0.1.0, whose format is no longer read: move it away");
		return NULL;
	}
	is_unused = wal_is_unused(loader->directory, &why);
	if (is_unused == 0 || (is_unused == 1 && !may_create))
		return NULL;
	if (is_unused == -1 || create(loader->directory, error) == -1) {
		if (is_unused == -1)
			*error = why;
		return NULL;
	}
	return snapshot_open(loader->directory, &loader->cancelled, error);
}

/* `check`: creates nothing, and reads the pages without keys, too. 0, or -1 with the error. */
static int load(struct loader *loader, bool check, struct error *error)
{
	struct loaded *loaded = &loader->loaded;
	struct snapshot *snapshot;
	struct store_id id;
	int result;

	loaded->table = table_new(0);
	if (loaded->table == NULL)
		return error_errno(error, "cannot create the table");
	snapshot = open_snapshot(loader, !check, error);
	if (snapshot == NULL)
		return -1;
	result = snapshot_load(snapshot, load_rows, loader, error);
	if (result == 0 && check)
		result = snapshot_check(snapshot, error);
	id = snapshot_meta(snapshot)->id;
	loaded->applied = snapshot_meta(snapshot)->segment;
	snapshot_close(snapshot);
	if (result == -1 || wal_replay(&loaded->wal, loader->directory, &id, loaded->applied,
				!check, replay_change, loader, error) == -1)
		return -1;
	if (!check)
		wal_recycle_up_to(loader->directory, loaded->applied);
	return 0;
}

/* Adds the directory to the error and, if files are damaged or missing, what to do. */
static int explain(const struct loader *loader, struct error *error)
{
	int code = error->code;

	error_prefix(error, "storage %s: ", loader->directory->path);
	if (code == 0 || code == EBADMSG || code == ENOENT) {
		size_t length = strlen(error->text);

		snprintf(error->text + length, sizeof(error->text) - length,
		    "; restore a backup, or the missing files");
	}
	return -1;
}

static void free_loaded(struct loaded *loaded)
{
	wal_close(&loaded->wal);
	table_free(loaded->table);
}

static void *run(void *arg)
{
	struct loader *loader = arg;

	loader->failed = load(loader, false, &loader->error) == -1;
	if (loader->failed)
		explain(loader, &loader->error);
	loader->done = true;
	eventfd_write(loader->fd, 1);
	return NULL;
}

struct loader *loader_start(struct directory *directory, int fd, struct error *error)
{
	struct loader *loader = calloc(1, sizeof(*loader));

	if (loader == NULL) {
		error_memory(error);
		return NULL;
	}
	loader->directory = directory;
	loader->fd = fd;
	loader->loaded.wal.fd = -1;
	if (thread_start(&loader->thread, run, loader) == 0)
		return loader;
	error_errno(error, "cannot start a thread");
	free(loader);
	return NULL;
}

int loader_poll(struct loader *loader, struct error *error)
{
	if (!loader->done)
		return 0;
	if (!loader->failed)
		return 1;
	*error = loader->error;
	return -1;
}

uint64_t loader_progress(const struct loader *loader)
{
	return loader->progress;
}

void loader_detach(struct loader *loader, struct loaded *loaded)
{
	*loaded = loader->loaded;
	loader->loaded = (struct loaded){ .wal.fd = -1 };
}

void loader_free(struct loader *loader)
{
	if (loader == NULL)
		return;
	loader->cancelled = true;
	pthread_join(loader->thread, NULL);
	free_loaded(&loader->loaded);
	free(loader);
}

int loader_check(struct directory *directory, uint64_t *keys, struct error *error)
{
	struct loader loader = { .directory = directory, .loaded.wal.fd = -1 };
	struct table_stats stats;
	int result = load(&loader, true, error);

	if (result == 0) {
		table_stats(loader.loaded.table, &stats);
		*keys = stats.entries;
	} else {
		explain(&loader, error);
	}
	free_loaded(&loader.loaded);
	return result;
}
