/*
 * Appending. A file grows ahead of its end, by zeros, for a sync is quickest when it has nothing to tell but
 * bytes; and it keeps its size when it is begun anew.
 */
#include "kv/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "kv/batch.h"
#include "kv/spool_head.h"

#define KEPT_SIZE (16u << 20) /* of a file; a larger one is cut */
#define PARTS_AT_ONCE 256     /* of a write; IOV_MAX is 1024 */

static int fail(struct spool *spool, int error)
{
	snprintf(spool->medium.failure, sizeof(spool->medium.failure), "cannot write its spool: %s",
	    strerror(error));
	return -1;
}

/* --- writing; 0 or an errno --- */

/* Takes that many bytes off the parts; how many of these are left to write. */
static int skip(struct iovec **parts, int count, size_t written)
{
	while (count > 0 && written >= (*parts)->iov_len) {
		written -= (*parts)->iov_len;
		++*parts;
		count--;
	}
	if (count > 0) {
		(*parts)->iov_base = (char *)(*parts)->iov_base + written;
		(*parts)->iov_len -= written;
	}
	return count;
}

static int write_all(int fd, struct iovec *parts, int count, off_t at)
{
	while (count > 0) {
		ssize_t written = pwritev(fd, parts, count, at);

		if (written == -1 && errno != EINTR)
			return errno;
		if (written == 0)
			return EIO;
		if (written > 0) {
			count = skip(&parts, count, (size_t)written);
			at += written;
		}
	}
	return 0;
}

static int write_zeros(int fd, size_t from, size_t to)
{
	static const char zeros[65536];
	int code = 0;

	while (code == 0 && from < to) {
		size_t length = to - from < sizeof(zeros) ? to - from : sizeof(zeros);
		struct iovec part = { (void *)(uintptr_t)zeros, length };

		code = write_all(fd, &part, 1, (off_t)from);
		from += length;
	}
	return code;
}

/* Writes zeros: ftruncate() would add holes, which a disk that fills up later could not back. */
static int make_room(struct spool_file *file, size_t length)
{
	size_t size = file->size;
	int code;

	while (size < file->end + length)
		size = size < SPOOL_FILE_MIN ? SPOOL_FILE_MIN : 2 * size;
	code = write_zeros(file->fd, file->size, size);
	if (code == 0)
		file->size = size;
	else if (ftruncate(file->fd, (off_t)file->size) == -1)
		return code; /* zeros after the end are harmless, but occupy a full disk */
	return code;
}

/* A file that once had to grow far gives the room back. */
static void cut(struct spool_file *file)
{
	if (file->end == 0 && file->size > KEPT_SIZE && ftruncate(file->fd, KEPT_SIZE) == 0)
		file->size = KEPT_SIZE;
}

/* --- a commit --- */

/* The bytes that it will take. */
static size_t seal_parts(const struct spool_file *file, const struct batch *batch, uint64_t number)
{
	struct spool_head head = { .number = number };
	struct batch_record *record;
	size_t length = 0;

	batch_add_checksums(batch);
	TAILQ_FOREACH (record, &batch->records, entry) {
		head.is_last = TAILQ_NEXT(record, entry) == NULL;
		head.length = record->length;
		spool_head_write(record->head, &head, &file->key);
		length += sizeof(record->head) + record->length;
		head.part++;
	}
	return length;
}

static int write_parts(const struct spool_file *file, const struct batch *batch)
{
	struct batch_record *record = TAILQ_FIRST(&batch->records);
	size_t at = file->end;
	int code = 0;

	while (code == 0 && record != NULL) {
		struct iovec parts[PARTS_AT_ONCE];
		size_t begin = at;
		int count = 0;

		for (; record != NULL && count < PARTS_AT_ONCE;
		     record = TAILQ_NEXT(record, entry)) {
			/* The record stands right behind its head. */
			size_t length = sizeof(record->head) + record->length;

			parts[count++] = (struct iovec){ record->head, length };
			at += length;
		}
		code = write_all(file->fd, parts, count, (off_t)begin);
	}
	return code;
}

static int spool_commit(struct medium *medium, const struct batch *batch)
{
	struct spool *spool = (struct spool *)medium;
	struct spool_file *file = &spool->files[batch->spool_file];
	size_t length = seal_parts(file, batch, spool->last + 1);
	int code;

	cut(file);
	code = make_room(file, length);
	if (code == 0)
		code = write_parts(file, batch);
	if (code == 0 && fdatasync(file->fd) == -1)
		code = errno;
	if (code != 0) {
		spool->torn = file;
		spool->wanted = length;
		return fail(spool, code);
	}
	file->end += length;
	spool->last++;
	return 0;
}

/* As much of nothing in the place of what has failed: it must not be found, and there is room for the next. */
static int spool_recover(struct medium *medium)
{
	struct spool *spool = (struct spool *)medium;
	struct spool_file *file = spool->torn;
	int code;

	if (file == NULL)
		return 0;
	code = make_room(file, spool->wanted);
	if (code == 0)
		code = write_zeros(file->fd, file->end, file->end + spool->wanted);
	if (code == 0 && fdatasync(file->fd) == -1)
		code = errno;
	if (code != 0)
		return fail(spool, code);
	spool->torn = NULL;
	return 0;
}

/* --- beginning and end --- */

static void spool_close(struct medium *medium)
{
	struct spool *spool = (struct spool *)medium;

	for (int i = 0; i < SPOOL_FILES; i++)
		if (spool->files[i].fd != -1)
			close(spool->files[i].fd);
	free(spool);
}

static const struct medium_ops spool_ops = {
	.commit = spool_commit,
	.recover = spool_recover,
	.close = spool_close,
};

void spool_begin(struct spool *spool, int file, const struct siphash_key *key)
{
	struct spool_file *anew = &spool->files[file];

	anew->key = *key;
	anew->end = 0;
}

static int open_file(struct spool_file *file, const char *directory, unsigned number)
{
	struct stat stat;
	char path[4096];
	int code;

	snprintf(path, sizeof(path), "%s/" SPOOL_NAME, directory, number);
	file->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (file->fd == -1 || fstat(file->fd, &stat) == -1)
		return errno;
	file->size = (size_t)stat.st_size;
	code = make_room(file, SPOOL_FILE_MIN);
	return code == 0 && fsync(file->fd) == -1 ? errno : code;
}

struct spool *spool_open(const char *directory, const struct siphash_key keys[SPOOL_FILES])
{
	struct spool *spool = malloc(sizeof(*spool));
	int code = 0;

	if (spool == NULL)
		return NULL;
	*spool = (struct spool){ .medium = { .ops = &spool_ops } };
	for (int i = 0; i < SPOOL_FILES; i++)
		spool->files[i] = (struct spool_file){ .fd = -1, .key = keys[i] };
	for (int i = 0; i < SPOOL_FILES && code == 0; i++)
		code = open_file(&spool->files[i], directory, (unsigned)i);
	if (code == 0)
		return spool;
	spool_close(&spool->medium);
	errno = code;
	return NULL;
}
