/* Encoding, checksums and reading; files are read instead of mapped, because a map of a failing disk ends the process. */
#include "kv/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

#include "core/error.h"
#include "core/little_endian.h"

#define MAGIC "echodwal"
#define VERSION 1u
#define FLAG_END 1u

/* Offsets of the header's fields, */
enum { AT_VERSION = 8, AT_ID = 16, AT_NUMBER = 32, AT_SALT = 40, AT_FIRST = 48, AT_CHECKSUM = 56 };

/* and of a frame's. */
enum { AT_FRAME_CHECKSUM = 0, AT_SEQUENCE = 8, AT_LENGTH = 16, AT_FLAGS = 20 };

void segment_name(uint64_t number, char name[SEGMENT_NAME_MAX])
{
	snprintf(name, SEGMENT_NAME_MAX, "wal.%08" PRIu64, number);
}

uint64_t segment_number(const char *name)
{
	char expected[SEGMENT_NAME_MAX];
	uint64_t number;

	if (strncmp(name, "wal.", 4) != 0)
		return 0;
	number = strtoull(name + 4, NULL, 10);
	segment_name(number, expected);
	return strcmp(name, expected) == 0 ? number : 0;
}

void segment_header_write(const struct segment_header *header, unsigned char to[SEGMENT_HEADER])
{
	memset(to, 0, SEGMENT_HEADER);
	memcpy(to, MAGIC, strlen(MAGIC));
	le32_put(to + AT_VERSION, VERSION);
	memcpy(to + AT_ID, header->id.bytes, STORE_ID_SIZE);
	le64_put(to + AT_NUMBER, header->number);
	le64_put(to + AT_SALT, header->salt);
	le64_put(to + AT_FIRST, header->first);
	le64_put(to + AT_CHECKSUM, XXH3_64bits(to, AT_CHECKSUM));
}

/* 0, or -1: it is damaged. */
static int header_read(struct segment_header *header, const unsigned char from[SEGMENT_HEADER])
{
	if (memcmp(from, MAGIC, strlen(MAGIC)) != 0 || le32_get(from + AT_VERSION) != VERSION ||
	    le64_get(from + AT_CHECKSUM) != XXH3_64bits(from, AT_CHECKSUM))
		return -1;
	memcpy(header->id.bytes, from + AT_ID, STORE_ID_SIZE);
	header->number = le64_get(from + AT_NUMBER);
	header->salt = le64_get(from + AT_SALT);
	header->first = le64_get(from + AT_FIRST);
	return 0;
}

size_t frame_size(size_t length)
{
	return (FRAME_HEADER + length + FRAME_ALIGNMENT - 1) / FRAME_ALIGNMENT * FRAME_ALIGNMENT;
}

/* The flags, and 24 bits that tell a header from other bytes even if its frame is not whole. */
static uint32_t marked_flags(const unsigned char *bytes, bool is_end, uint64_t salt)
{
	uint64_t check = XXH3_64bits_withSeed(bytes + AT_SEQUENCE, AT_FLAGS - AT_SEQUENCE, salt);

	return (uint32_t)(check << 8) | (is_end ? FLAG_END : 0);
}

static uint64_t frame_checksum(const unsigned char *bytes, size_t length, uint64_t salt)
{
	return XXH3_64bits_withSeed(bytes + AT_SEQUENCE, FRAME_HEADER - AT_SEQUENCE + length, salt);
}

void frame_write(unsigned char *bytes, const struct frame *frame, uint64_t salt)
{
	le64_put(bytes + AT_SEQUENCE, frame->sequence);
	le32_put(bytes + AT_LENGTH, (uint32_t)frame->length);
	le32_put(bytes + AT_FLAGS, marked_flags(bytes, frame->is_end, salt));
	le64_put(bytes + AT_FRAME_CHECKSUM, frame_checksum(bytes, frame->length, salt));
}

/* false: there is no header. */
static bool read_header(struct frame *frame, const unsigned char *bytes, size_t size, uint64_t salt)
{
	uint32_t flags;

	if (size < FRAME_HEADER)
		return false;
	flags = le32_get(bytes + AT_FLAGS);
	*frame = (struct frame){
		.sequence = le64_get(bytes + AT_SEQUENCE),
		.is_end = flags & FLAG_END,
		.changes = bytes + FRAME_HEADER,
		.length = le32_get(bytes + AT_LENGTH),
	};
	return flags == marked_flags(bytes, frame->is_end, salt);
}

bool frame_read(struct frame *frame, const unsigned char *bytes, size_t size, uint64_t salt)
{
	return read_header(frame, bytes, size, salt) && frame->length <= size - FRAME_HEADER &&
	       le64_get(bytes + AT_FRAME_CHECKSUM) == frame_checksum(bytes, frame->length, salt);
}

/* Reads the header, and the other bytes too if they are wanted. */
static int read_file(
    int fd, const char *path, struct segment *segment, bool whole, struct error *error)
{
	struct stat stat;

	if (fstat(fd, &stat) == -1)
		return error_errno(error, "cannot read %s", path);
	if (stat.st_size < SEGMENT_HEADER)
		return error_set(error, "%s is damaged: it is cut short", path);
	segment->size = whole ? (size_t)stat.st_size : SEGMENT_HEADER;
	segment->bytes = malloc(segment->size);
	if (segment->bytes == NULL)
		return error_memory(error);
	for (size_t at = 0; at < segment->size;) {
		ssize_t n = pread(fd, segment->bytes + at, segment->size - at, (off_t)at);

		if (n == -1 && errno != EINTR)
			return error_errno(error, "cannot read %s", path);
		if (n == 0)
			return error_set(error, "%s is damaged: it is cut short", path);
		at += n > 0 ? (size_t)n : 0;
	}
	return 0;
}

static int check_header(struct segment *segment, const char *path, const struct store_id *id,
    uint64_t number, struct error *error)
{
	if (header_read(&segment->header, segment->bytes) == -1)
		return error_set(error, "%s is damaged: its header is wrong", path);
	if (id != NULL && memcmp(&segment->header.id, id, sizeof(*id)) != 0)
		return error_set(error, "%s belongs to another store", path);
	if (segment->header.number != number)
		return error_set(error, "%s is segment %" PRIu64 " of the log, under another name",
		    path, segment->header.number);
	return 0;
}

static int read_segment(struct segment *segment, const struct directory *directory,
    const struct store_id *id, uint64_t number, bool whole, struct error *error)
{
	char name[SEGMENT_NAME_MAX], path[FILENAME_MAX];
	int fd, result;

	segment_name(number, name);
	directory_path(directory, name, path);
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (fd == -1 && errno == ENOENT)
		return error_code(error, ENOENT, "%s is missing", path);
	if (fd == -1)
		return error_errno(error, "cannot open %s", path);
	segment->bytes = NULL;
	result = read_file(fd, path, segment, whole, error);
	if (result == 0)
		result = check_header(segment, path, id, number, error);
	close(fd);
	if (result == -1)
		free(segment->bytes);
	return result;
}

int segment_read_header(struct segment_header *header, const struct directory *directory,
    const struct store_id *id, uint64_t number, struct error *error)
{
	struct segment segment;

	if (read_segment(&segment, directory, id, number, false, error) == -1)
		return -1;
	*header = segment.header;
	free(segment.bytes);
	return 0;
}

int segment_read(struct segment *segment, const struct directory *directory,
    const struct store_id *id, uint64_t number, struct error *error)
{
	return read_segment(segment, directory, id, number, true, error);
}

bool segment_next(const struct segment *segment, size_t *at, uint64_t sequence, struct frame *frame)
{
	if (!frame_read(frame, segment->bytes + *at, segment->size - *at, segment->header.salt) ||
	    frame->sequence != sequence)
		return false;
	*at += frame_size(frame->length);
	if (*at > segment->size)
		*at = segment->size;
	return true;
}

bool segment_is_damaged(const struct segment *segment, size_t at, uint64_t sequence)
{
	const unsigned char *bytes = segment->bytes;
	uint64_t salt = segment->header.salt;
	struct frame frame;

	if (segment->size < SEGMENT_STEP || at > segment->size / SEGMENT_STEP * SEGMENT_STEP)
		return true; /* frames are only written where the whole step is allocated */
	if (read_header(&frame, bytes + at, segment->size - at, salt) &&
	    frame.sequence == sequence && frame.length > segment->size - at - FRAME_HEADER)
		return true;
	for (at += FRAME_ALIGNMENT; at + FRAME_HEADER <= segment->size; at += FRAME_ALIGNMENT)
		if (le64_get(bytes + at + AT_SEQUENCE) - sequence <= segment->size &&
		    frame_read(&frame, bytes + at, segment->size - at, salt))
			return true;
	return false;
}
