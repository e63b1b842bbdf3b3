/*
 * The write-ahead log: what makes a change durable. Numbered segments, of which the last one is appended to, by one
 * thread. A checkpoint moves the others to the snapshot; then their files are used again. wal_reader.h reads them.
 */
#ifndef ECHOD_KV_WAL_H
#define ECHOD_KV_WAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "kv/batch.h"
#include "kv/directory.h"

struct error;

/* A segment is full when it has this many bytes, or one batch that is longer. */
#define WAL_SEGMENT_SIZE ((size_t)16 << 20)

struct wal {
	struct directory *directory;
	struct store_id id;
	uint64_t segment;  /* its number */
	uint64_t sequence; /* of the next frame */
	int fd;            /* of the segment; -1 = it cannot be appended to, see wal_recover() */
	uint64_t salt;     /* of the segment */
	size_t end;        /* of its frames */
	size_t size;       /* of the file: what is behind `end` is allocated */
	uint64_t bytes;    /* of all frames behind the snapshot that wal_replay() has begun with */
	size_t last;       /* its last frame; 0 = it has none */
	bool marked;       /* the last frame is a mark, or there is none */
	size_t wanted;     /* bytes that could not be allocated; 0 = none */
	int code;          /* the errno for which wal_resume() has not opened it */
};

/* Creates the segment after those that the snapshot has: 0 for a new store. 0, or -1 with the error. */
int wal_create(
    struct directory *directory, const struct store_id *id, uint64_t applied, struct error *error);

/*
 * Opens the last segment for appending, once a replay has filled in the other fields; `bytes` is what it has read. 0, and
 * wal->fd is -1 if the disk takes no changes, or -1 with the error.
 */
int wal_resume(struct wal *wal, const unsigned char *bytes, struct error *error);

/*
 * Appends the batch and waits for the disk. 0, or -1 with the error: a replay will not find it once wal_recover() has
 * returned 0. If wal->fd is still open then, only space is lacking, and a batch of deletions may be appended.
 */
int wal_append(struct wal *wal, struct batch *batch, struct error *error);

/* Appends a frame without changes, so that damage of the one before it is not mistaken for a torn write. As above. */
int wal_mark(struct wal *wal, struct error *error);

/* Starts another segment, so that this one can be checkpointed. 0, or -1 with the error. */
int wal_seal(struct wal *wal, struct error *error);

/*
 * After a failure, on the same files only: proves that the log can be appended to again, in another segment if the
 * state of this one is unknown. 0, or -1 with the error.
 */
int wal_recover(struct wal *wal, struct error *error);

void wal_close(struct wal *wal);

/* The segment is in the snapshot: its file is used again, or removed. Any thread may call it. Failures do no harm. */
void wal_recycle(const struct directory *directory, uint64_t segment);
/* At the start, before anything is appended: recycles the segments that an earlier process did not. */
void wal_recycle_up_to(const struct directory *directory, uint64_t applied);

#endif
