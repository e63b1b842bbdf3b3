/*
 * Reads the WAL: all of it when a store is loaded, and one sealed segment for the checkpoint. Judges whether frames end
 * in a torn write or in damage.
 */
#ifndef ECHOD_KV_WAL_READER_H
#define ECHOD_KV_WAL_READER_H

#include <stdbool.h>
#include <stdint.h>

struct change;
struct directory;
struct error;
struct store_id;
struct wal;

/* Whether the directory has no log, or only what wal_create() makes for a new store. -1 with the error. */
int wal_is_unused(const struct directory *directory, struct error *error);

/*
 * Calls the function for each change behind the segment `applied`, in order; they are valid during the call, which may
 * return -1 with errno to stop. With `appends`, prepares the log for appending behind them; if the disk does not allow
 * that, wal->fd is -1. 0, or -1 with the error: the log is damaged, incomplete or unreadable; nothing was changed.
 */
int wal_replay(struct wal *wal, struct directory *directory, const struct store_id *id,
    uint64_t applied, bool appends, int (*each)(void *arg, const struct change *change), void *arg,
    struct error *error);

/*
 * Calls the function for each change of a sealed segment, and adds the length of its frames to *length. The changes
 * point into *bytes, which the caller frees, also after an error. 0, or -1 with the error. Any thread may call it.
 */
int wal_read(struct directory *directory, const struct store_id *id, uint64_t segment,
    unsigned char **bytes, uint64_t *length, int (*each)(void *arg, const struct change *change),
    void *arg, struct error *error);

#endif
