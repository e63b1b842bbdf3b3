/*
 * Reading a file: batches in a row, each whole. Where they end there is either nothing, what is left of an
 * earlier use, or a batch that was being written when the power failed; that one was never told of. But what
 * begins a batch further on was written after all before it was safe: then bytes in between have rotted.
 */
#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kv/batch.h"
#include "kv/spool.h"
#include "kv/spool_head.h"

struct reading {
	const unsigned char *bytes;
	size_t size, at;
	const struct siphash_key *key;
	uint64_t number; /* of the next batch; 0 = it may have any */
};

/* The length of the batch at the place, 0 = there is none that is whole. */
static size_t length_of_batch(struct reading *reading)
{
	struct spool_head head = { .is_last = false };
	size_t at = reading->at;

	for (uint32_t part = 0; !head.is_last; part++) {
		if (!spool_head_read(&head, reading->bytes + at, reading->size - at, reading->key))
			return 0;
		if (reading->number == 0)
			reading->number = head.number;
		if (head.number != reading->number || head.part != part)
			return 0;
		at += SPOOL_HEAD_SIZE + head.length;
	}
	return at - reading->at;
}

static int take_batch(struct reading *reading, size_t length, struct spool_content *content)
{
	size_t end = reading->at + length;

	while (reading->at < end) {
		const unsigned char *bytes = reading->bytes + reading->at;
		struct spool_head head;

		spool_head_read(&head, bytes, end - reading->at, reading->key);
		if (batch_add_record(content->batch, bytes + SPOOL_HEAD_SIZE, head.length) == -1)
			return ENOMEM;
		reading->at += SPOOL_HEAD_SIZE + head.length;
	}
	if (content->first == 0)
		content->first = reading->number;
	content->last = reading->number++;
	return 0;
}

static bool begins_a_batch(const struct reading *reading, size_t at)
{
	const unsigned char *bytes = reading->bytes + at;
	struct spool_head head;

	return spool_head_read(&head, bytes, reading->size - at, reading->key) && head.part == 0;
}

static bool begins_a_batch_behind(const struct reading *reading)
{
	for (size_t at = reading->at + 1; at < reading->size; at++)
		if (begins_a_batch(reading, at))
			return true;
	return false;
}

static int read_batches(struct reading *reading, struct spool_content *content)
{
	size_t length;
	int code = 0;

	content->batch = batch_new(0);
	if (content->batch == NULL)
		return ENOMEM;
	while (code == 0 && (length = length_of_batch(reading)) > 0)
		code = take_batch(reading, length, content);
	if (code == 0)
		content->damaged = begins_a_batch_behind(reading);
	if (code != 0 || content->first == 0) {
		batch_free(content->batch);
		content->batch = NULL;
	}
	return code;
}

static int read_file(int fd, unsigned char *bytes, size_t size)
{
	for (size_t at = 0; at < size;) {
		ssize_t n = pread(fd, bytes + at, size - at, (off_t)at);

		if (n == -1 && errno != EINTR)
			return errno;
		if (n == 0)
			return EIO; /* the file was truncated meanwhile */
		at += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

/* Reads the file instead of mapping it: with a failing disk, or a hole that cannot be filled, a map gives SIGBUS. */
int spool_read(int fd, const struct siphash_key *key, struct spool_content *content)
{
	struct reading reading = { .key = key };
	unsigned char *bytes;
	struct stat stat;
	int code;

	*content = (struct spool_content){ .batch = NULL };
	if (fstat(fd, &stat) == -1)
		return errno;
	reading.size = (size_t)stat.st_size;
	if (reading.size < SPOOL_FILE_MIN) {
		content->damaged = true;
		return 0;
	}
	if ((bytes = malloc(reading.size)) == NULL)
		return ENOMEM;
	reading.bytes = bytes;
	code = read_file(fd, bytes, reading.size);
	if (code == 0)
		code = read_batches(&reading, content);
	free(bytes);
	return code;
}
