/*
 * The spool: two files in front of the journal. LMDB waits for the disk twice a commit, an append once; so
 * what clients wait for is appended here, to one file until the journal takes all that it has as one batch,
 * and to the other one meanwhile. A file that is begun anew gets another key, and what it held is no part of
 * it any more.
 */
#ifndef ECHOD_KV_SPOOL_H
#define ECHOD_KV_SPOOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/siphash.h"
#include "kv/medium.h"

#define SPOOL_FILES 2
#define SPOOL_NAME "spool.%u"              /* of a file in the storage directory */
#define SPOOL_FILE_MIN ((size_t)256 << 10) /* bytes; a file doubles when it has to grow */

struct batch;

struct spool_file {
	int fd;
	struct siphash_key key;
	size_t end;  /* behind the last batch */
	size_t size; /* of the file, where it holds zeros or what is no part of it */
};

/* A medium that does not fold; a commit appends to the file that the batch names. */
struct spool {
	struct medium medium;
	struct spool_file files[SPOOL_FILES];
	uint64_t last;           /* number of the last batch */
	struct spool_file *torn; /* where an append has failed; NULL = nowhere */
	size_t wanted;           /* bytes of what has failed */
};

/* Opens the files of a directory, or makes them, as empty ones with these keys. NULL with errno. */
struct spool *spool_open(const char *directory, const struct siphash_key keys[SPOOL_FILES]);

/* Begins a file anew, when the journal has what it holds and knows the key. */
void spool_begin(struct spool *spool, int file, const struct siphash_key *key);

/* --- spool_read.c --- */

/* What a file was found to hold. */
struct spool_content {
	struct batch *batch;  /* all that is whole, the caller's; NULL = it is empty */
	uint64_t first, last; /* numbers of its batches */
	bool damaged;         /* there is or was more, but not the way to it */
};

/* 0 with the content, or an errno. */
int spool_read(int fd, const struct siphash_key *key, struct spool_content *content);

#endif
