/* A segment: a file of the WAL as bytes, with a header and frames. wal.c has the specification. */
#ifndef ECHOD_KV_SEGMENT_H
#define ECHOD_KV_SEGMENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kv/directory.h"

struct error;

#define SEGMENT_HEADER 64
#define SEGMENT_NAME_MAX 32
#define SEGMENT_STEP \
	((size_t)1 << 20) /* a file is allocated by steps, before frames are written there */

#define FRAME_HEADER 24
#define FRAME_ALIGNMENT 8

struct segment_header {
	struct store_id id;
	uint64_t number;
	uint64_t salt;
	/* The sequence of its first frame; frames of the segment before are void from there on. */
	uint64_t first;
};

struct frame {
	uint64_t sequence;
	bool is_end; /* no frame: the next segment continues, with this sequence */
	const unsigned char *changes;
	size_t length; /* of the changes */
};

void segment_name(uint64_t number, char name[SEGMENT_NAME_MAX]);
/* The number of the segment that has this name; 0 = it is no segment. */
uint64_t segment_number(const char *name);

void segment_header_write(const struct segment_header *header, unsigned char to[SEGMENT_HEADER]);

/* The bytes from the begin of one frame to that of the next. */
size_t frame_size(size_t length);
/* Fills in the header of a frame whose changes follow it. */
void frame_write(unsigned char *bytes, const struct frame *frame, uint64_t salt);
/* false: there is no whole frame. It points into the bytes. */
bool frame_read(struct frame *frame, const unsigned char *bytes, size_t size, uint64_t salt);

/* A segment that has been read. */
struct segment {
	struct segment_header header;
	unsigned char *bytes; /* all of the file; the caller frees them */
	size_t size;
};

/*
 * Reads only the header, or all. 0, or -1 with the error: the file is missing (code ENOENT), cannot be read, is damaged
 * or belongs to another store (id NULL = to any); there is nothing to free then.
 */
int segment_read_header(struct segment_header *header, const struct directory *directory,
    const struct store_id *id, uint64_t number, struct error *error);
int segment_read(struct segment *segment, const struct directory *directory,
    const struct store_id *id, uint64_t number, struct error *error);

/*
 * The frame at *at, which has to have that sequence, or the end of the frames: then, it is not clear whether a torn
 * write or damage ends them, see segment_is_damaged(). Advances *at behind it.
 */
bool segment_next(
    const struct segment *segment, size_t *at, uint64_t sequence, struct frame *frame);

/*
 * Whether the frames end because of damage: a frame follows further on, so that all before it had been written, or the
 * file was cut short.
 */
bool segment_is_damaged(const struct segment *segment, size_t at, uint64_t sequence);

#endif
