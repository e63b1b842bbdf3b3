/* The frames of one segment after the other, by their sequence. The head of wal.c specifies what is read here. */
#include "kv/wal_reader.h"

#include <dirent.h>
#include <errno.h>
#include <stdlib.h>

#include "core/error.h"
#include "kv/change.h"
#include "kv/directory.h"
#include "kv/segment.h"
#include "kv/wal.h"

struct reader {
	const struct directory *directory;
	const struct store_id *id;
	int (*each)(void *arg, const struct change *change);
	void *arg;
	uint64_t sequence; /* of the next frame; UINT64_MAX = not known before the first segment */
	uint64_t bytes;    /* of all frames */
	/* Of the segment, see struct wal: */
	size_t end, last;
	bool marked;
	bool is_ended; /* the next segment exists */
};

/* The newest segment in the directory; 0 = there is none. -1 with the error. */
static int find_last(const struct directory *directory, uint64_t *last, struct error *error)
{
	DIR *files = opendir(directory->path);
	const struct dirent *file;

	if (files == NULL)
		return error_errno(error, "cannot read %s", directory->path);
	*last = 0;
	while (errno = 0, (file = readdir(files)) != NULL) {
		uint64_t number = segment_number(file->d_name);

		if (number > *last)
			*last = number;
	}
	if (errno != 0) {
		error_errno(error, "cannot read %s", directory->path);
		closedir(files);
		return -1;
	}
	closedir(files);
	return 0;
}

int wal_is_unused(const struct directory *directory, struct error *error)
{
	struct segment segment;
	struct frame frame;
	size_t at = SEGMENT_HEADER;
	uint64_t last;
	bool is_unused;

	if (find_last(directory, &last, error) == -1)
		return -1;
	if (last != 1)
		return last == 0;
	if (segment_read(&segment, directory, NULL, 1, error) == -1)
		return -1;
	is_unused = !segment_next(&segment, &at, segment.header.first, &frame);
	free(segment.bytes);
	return is_unused;
}

/* 0, or -1 with errno: EBADMSG, or that of the function. */
static int read_changes(const struct reader *reader, const struct frame *frame)
{
	const unsigned char *at = frame->changes;
	struct change change;
	int result;

	while ((result = change_read(&change, &at, frame->changes + frame->length)) == 1)
		if (reader->each(reader->arg, &change) == -1)
			return -1;
	errno = EBADMSG;
	return result;
}

/* Reads the frames that are before `limit`. 0, or -1 with errno. */
static int read_frames(struct reader *reader, const struct segment *segment, uint64_t limit)
{
	struct frame frame;
	size_t at = SEGMENT_HEADER;

	if (reader->sequence == UINT64_MAX)
		reader->sequence = segment->header.first;
	if (reader->sequence != segment->header.first) {
		errno = EBADMSG;
		return -1;
	}
	reader->last = 0;
	reader->marked = true;
	reader->is_ended = false;
	for (reader->end = at;
	     reader->sequence < limit && segment_next(segment, &at, reader->sequence, &frame);
	     reader->end = at) {
		reader->is_ended = frame.is_end;
		if (frame.is_end)
			break;
		if (read_changes(reader, &frame) == -1)
			return -1;
		reader->last = reader->end;
		reader->marked = frame.length == 0;
		reader->sequence++;
		reader->bytes += frame_size(frame.length);
	}
	return 0;
}

/* The error of a segment that was read, by errno. */
static int fail_read(const struct reader *reader, uint64_t number, struct error *error)
{
	const char *directory = reader->directory->path;
	char name[SEGMENT_NAME_MAX];

	segment_name(number, name);
	if (errno != EBADMSG)
		return error_errno(error, "cannot load %s/%s", directory, name);
	return error_set(error, "%s/%s is damaged: changes are missing", directory, name);
}

/* Of a segment that another one follows: all frames up to that one's first. *bytes is the caller's to free. */
static int read_sealed(
    struct reader *reader, uint64_t number, unsigned char **bytes, struct error *error)
{
	struct segment_header next;
	struct segment segment;

	*bytes = NULL;
	if (segment_read_header(&next, reader->directory, reader->id, number + 1, error) == -1 ||
	    segment_read(&segment, reader->directory, reader->id, number, error) == -1)
		return -1;
	*bytes = segment.bytes;
	if (read_frames(reader, &segment, next.first) == 0) {
		if (reader->sequence == next.first)
			return 0;
		errno = EBADMSG;
	}
	return fail_read(reader, number, error);
}

/* Replays the last segment, whose frames may end in a torn write. 0, or -1 with the error. */
static int replay_last(
    struct reader *reader, uint64_t number, bool appends, struct wal *wal, struct error *error)
{
	char name[SEGMENT_NAME_MAX];
	struct segment segment;
	int result;

	if (segment_read(&segment, reader->directory, reader->id, number, error) == -1)
		return -1;
	result = read_frames(reader, &segment, UINT64_MAX);
	if (result == 0 && segment_is_damaged(&segment, reader->end, reader->sequence)) {
		errno = EBADMSG;
		result = -1;
	}
	if (result == -1) {
		fail_read(reader, number, error);
	} else if (reader->is_ended) {
		segment_name(number + 1, name);
		result = error_set(error, "%s/%s is missing", reader->directory->path, name);
	} else {
		wal->segment = number;
		wal->sequence = reader->sequence;
		wal->salt = segment.header.salt;
		wal->end = reader->end;
		wal->size = segment.size / SEGMENT_STEP * SEGMENT_STEP;
		wal->bytes = reader->bytes;
		wal->last = reader->last;
		wal->marked = reader->marked;
		if (appends)
			result = wal_resume(wal, segment.bytes, error);
	}
	free(segment.bytes);
	return result;
}

int wal_replay(struct wal *wal, struct directory *directory, const struct store_id *id,
    uint64_t applied, bool appends, int (*each)(void *arg, const struct change *change), void *arg,
    struct error *error)
{
	struct reader reader = { directory, id, each, arg, .sequence = UINT64_MAX };
	unsigned char *bytes;
	uint64_t last;
	int result;

	*wal = (struct wal){ .directory = directory, .id = *id, .fd = -1 };
	if (find_last(directory, &last, error) == -1)
		return -1;
	for (uint64_t number = applied + 1; number < last; number++) {
		result = read_sealed(&reader, number, &bytes, error);
		free(bytes);
		if (result == -1)
			return -1;
	}
	return replay_last(&reader, last > applied ? last : applied + 1, appends, wal, error);
}

int wal_read(struct directory *directory, const struct store_id *id, uint64_t segment,
    unsigned char **bytes, uint64_t *length, int (*each)(void *arg, const struct change *change),
    void *arg, struct error *error)
{
	struct reader reader = { directory, id, each, arg, .sequence = UINT64_MAX };
	int result = read_sealed(&reader, segment, bytes, error);

	*length += reader.bytes;
	return result;
}
