/*
 * The write-ahead log. Format 1, in which all numbers are little-endian and unsigned:
 *
 * A store's directory has segments wal.00000001, wal.00000002 and so on; those up to the snapshot's are obsolete, from
 * there on none is missing. A file gets such a name only when its header is on the disk, so a header that is wrong is
 * damage. wal.new becomes the next segment; wal.spare is one that may be used again.
 *
 *	segment	0	"echodwal"
 *		8	4: version of the format, 1; then 4: zero
 *		16	16: the store's identity, as in the snapshot
 *		32	8: the number of the segment
 *		40	8: salt, random
 *		48	8: the sequence of the segment's first frame
 *		56	8: XXH3 (64 bits) of these 56 bytes
 *		64	frames, each at a multiple of 8; behind the last one, zeros or what an earlier use has left
 *
 *	frame	0	8: XXH3 (64 bits, seeded with the salt) of the rest of the frame
 *		8	8: sequence, one more than that of the frame before it, across segments
 *		16	4: the length of the changes
 *		20	1: flags; 1 = the end: no frame, but the next segment exists and begins with this sequence
 *		21	3: XXH3 (the low 24 bits, seeded with the salt) of the sequence and the length
 *		24	changes
 *
 *	change	0	2: length of the key
 *		2	4: length of the item, 0 = the key is deleted
 *		6	the key, then the item (item.c)
 *
 * A frame is what one commit has changed, or nothing (a mark). The frames of a segment end at the first one that is not
 * whole or has another sequence, or where the next segment's begin: what is left there is of a write that failed, and
 * void. In the last segment that is where a write was torn, and its client had no reply, unless a frame follows
 * further on: then the disk has lost what had been written. That is why a mark follows the last frame when no other one
 * does. A segment is allocated in steps of 1 MiB, so one whose frames do not end within whole steps was cut short.
 */
#include "kv/wal.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "kv/segment.h"

#define NEW_FILE "wal.new"
#define SPARE_FILE "wal.spare"

#define RESERVE ((size_t)128 << 10) /* that only deletions may use */

static_assert(BATCH_HEADER == FRAME_HEADER, "a batch has room for the header of its frame");

/* --- writing --- */

static int write_all(int fd, const unsigned char *bytes, size_t length, size_t at)
{
	while (length > 0) {
		ssize_t written = pwrite(fd, bytes, length, (off_t)at);

		if (written == -1 && errno != EINTR)
			return -1;
		if (written == 0) {
			errno = EIO;
			return -1;
		}
		if (written > 0) {
			bytes += written;
			length -= (size_t)written;
			at += (size_t)written;
		}
	}
	return 0;
}

/*
 * Writes zeros, for ftruncate(2) would make holes, which a disk that is full by then cannot fill. What could be written
 * is kept for the next try, but not counted.
 */
static int allocate(int fd, size_t from, size_t to)
{
	static const unsigned char zeros[65536];

	while (from < to) {
		size_t length = to - from < sizeof(zeros) ? to - from : sizeof(zeros);

		if (write_all(fd, zeros, length, from) == -1)
			return -1;
		from += length;
	}
	return 0;
}

/* The error of a file of the log; errno is kept. */
static int fail(const struct directory *directory, const char *name, struct error *error)
{
	return error_errno(error, "cannot write %s/%s", directory->path, name);
}

static bool is_lack_of_space(int code)
{
	return code == ENOSPC || code == EDQUOT || code == EFBIG;
}

/* After a failure. Unless only space is lacking, what the disk has of the segment is unknown, and it is closed. */
static int fail_segment(struct wal *wal, size_t wanted, struct error *error)
{
	char name[SEGMENT_NAME_MAX];

	segment_name(wal->segment, name);
	fail(wal->directory, name, error);
	if (wanted != 0 && is_lack_of_space(error->code)) {
		wal->wanted = wanted;
		return -1;
	}
	wal->wanted = 0;
	close(wal->fd);
	wal->fd = -1;
	return -1;
}

/* --- segments --- */

/*
 * Opens the file that becomes the next segment, with SEGMENT_STEP bytes or more; *size is what it has. A wal.new that is
 * there is cut: its writer may have been killed when it could not be synced. -1 with errno.
 */
static int open_new(const struct directory *directory, const char *path, size_t *size)
{
	char spare[FILENAME_MAX];
	int fd, flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW;
	struct stat stat;

	directory_path(directory, SPARE_FILE, spare);
	if (rename(spare, path) == -1) {
		if (errno != ENOENT)
			return -1;
		flags |= O_TRUNC;
	}
	fd = open(path, flags, 0600);
	if (fd == -1)
		return -1;
	*size = fstat(fd, &stat) == 0 ? (size_t)stat.st_size : 0;
	if (*size >= SEGMENT_STEP)
		return fd;
	*size = SEGMENT_STEP;
	if (allocate(fd, 0, SEGMENT_STEP) == 0)
		return fd;
	close(fd);
	return -1;
}

/*
 * Starts a segment with that header, and points the log to it. 0, or -1 with errno; then the log is as before, but the
 * segment may be there all the same if *named.
 */
static int start_segment(struct wal *wal, const struct segment_header *header, bool *named)
{
	char name[SEGMENT_NAME_MAX], path[FILENAME_MAX], new[FILENAME_MAX];
	unsigned char bytes[SEGMENT_HEADER];
	size_t size;
	int fd, saved;

	*named = false;
	segment_name(header->number, name);
	directory_path(wal->directory, name, path);
	directory_path(wal->directory, NEW_FILE, new);
	fd = open_new(wal->directory, new, &size);
	if (fd == -1)
		return -1;
	segment_header_write(header, bytes);
	if (write_all(fd, bytes, sizeof(bytes), 0) == -1 || fdatasync(fd) == -1 ||
	    (*named = rename(new, path) == 0) == false || directory_sync(wal->directory) == -1) {
		saved = errno;
		close(fd);
		unlink(new); /* its sync may have failed: what the disk has of it is unknown */
		errno = saved;
		return -1;
	}
	if (wal->fd != -1)
		close(wal->fd);
	wal->fd = fd;
	wal->segment = header->number;
	wal->salt = header->salt;
	wal->end = SEGMENT_HEADER;
	wal->size = size;
	wal->last = wal->wanted = 0;
	wal->marked = true;
	return 0;
}

/* The header of the segment that continues the log. 0, or -1 with errno. */
static int next_header(const struct wal *wal, struct segment_header *header)
{
	*header = (struct segment_header){
		.id = wal->id, .number = wal->segment + 1, .first = wal->sequence
	};
	return getrandom(&header->salt, sizeof(header->salt), 0) == -1 ? -1 : 0;
}

int wal_create(
    struct directory *directory, const struct store_id *id, uint64_t applied, struct error *error)
{
	struct wal wal = { .directory = directory, .id = *id, .segment = applied, .fd = -1 };
	char name[SEGMENT_NAME_MAX], path[FILENAME_MAX];
	struct segment_header header;
	bool named = false;

	if (next_header(&wal, &header) == 0 && start_segment(&wal, &header, &named) == 0) {
		close(wal.fd);
		return 0;
	}
	fail(directory, NEW_FILE, error);
	directory_path(directory, NEW_FILE, path);
	unlink(path);
	segment_name(applied + 1, name);
	directory_path(directory, name, path);
	unlink(path); /* renamed, but the directory could not be synced */
	return -1;
}

/*
 * A process that was killed may have written its last frames without a sync, or with one that failed, after which the
 * kernel takes the pages for written. Clients will read these frames, so they are written and synced again.
 */
int wal_resume(struct wal *wal, const unsigned char *bytes, struct error *error)
{
	char name[SEGMENT_NAME_MAX], path[FILENAME_MAX];

	segment_name(wal->segment, name);
	directory_path(wal->directory, name, path);
	wal->fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (wal->fd == -1) {
		wal->code = errno;
		return 0;
	}
	if (write_all(wal->fd, bytes, wal->end, 0) == 0 && fdatasync(wal->fd) == 0 &&
	    directory_sync(wal->directory) == 0)
		return 0;
	wal->code = errno;
	error_errno(error, "cannot write %s", path);
	wal_close(wal);
	return is_lack_of_space(wal->code) ? 0 : -1;
}

/* Appends a frame of so many bytes to the segment, and waits for the disk. 0, or -1 with the error. */
static int append(struct wal *wal, void *bytes, size_t length, bool is_end, struct error *error)
{
	struct frame frame = { wal->sequence, is_end, NULL, length - FRAME_HEADER };

	frame_write(bytes, &frame, wal->salt);
	if (write_all(wal->fd, bytes, length, wal->end) == -1 || fdatasync(wal->fd) == -1)
		return fail_segment(wal, 0, error);
	wal->last = wal->end;
	wal->end += frame_size(frame.length);
	wal->sequence += !is_end;
	if (!is_end)
		wal->bytes += frame_size(frame.length);
	return 0;
}

int wal_seal(struct wal *wal, struct error *error)
{
	unsigned char end[FRAME_HEADER];
	struct segment_header header;
	struct wal next = *wal;
	bool named = false;

	if (directory_check(wal->directory, error) == -1) {
		wal->wanted = 0;
		wal_close(wal);
		return -1;
	}
	if (wal->end == SEGMENT_HEADER)
		return 0;
	next.fd = -1;
	/* Once the next segment is named, this one is at its end. */
	if (next_header(wal, &header) == -1 || start_segment(&next, &header, &named) == -1)
		return fail_segment(wal, named ? 0 : SEGMENT_STEP, error);
	if (append(wal, end, sizeof(end), true, error) == -1) {
		close(next.fd);
		return -1;
	}
	close(wal->fd);
	*wal = next;
	return 0;
}

/* Makes room for a frame of so many bytes and, behind it, the reserve. 0, or -1 with the error. */
static int make_room(struct wal *wal, size_t length, size_t reserve, struct error *error)
{
	size_t size = wal->size;

	if (wal->end + length + reserve > WAL_SEGMENT_SIZE && wal_seal(wal, error) == -1 &&
	    (wal->fd == -1 || wal->end + length + reserve > wal->size))
		return -1;
	while (size < wal->end + length + reserve)
		size += SEGMENT_STEP;
	if (size > wal->size && allocate(wal->fd, wal->size, size) == -1) {
		int saved = errno;

		/* Gives the space of a partial step back to the full disk. */
		if (ftruncate(wal->fd, (off_t)wal->size) == -1 && !is_lack_of_space(errno))
			saved = errno;
		errno = saved;
		return fail_segment(wal, length, error);
	}
	wal->size = size;
	return 0;
}

int wal_append(struct wal *wal, struct batch *batch, struct error *error)
{
	size_t length = frame_size(batch->frame.length - BATCH_HEADER);

	if (make_room(wal, length, batch->puts > 0 ? RESERVE : 0, error) == -1 ||
	    append(wal, batch->frame.bytes, batch->frame.length, false, error) == -1)
		return -1;
	wal->marked = false;
	wal->wanted = 0;
	return 0;
}

int wal_mark(struct wal *wal, struct error *error)
{
	unsigned char mark[FRAME_HEADER];

	if (make_room(wal, sizeof(mark), 0, error) == -1 ||
	    append(wal, mark, sizeof(mark), false, error) == -1)
		return -1;
	wal->marked = true;
	return 0;
}

/* --- after a failure --- */

/* Whether the segment that the path leads to is ours, and has the last frame that the disk has confirmed. */
static int check_segment(const struct wal *wal, struct error *error)
{
	struct segment segment;
	struct frame frame;
	bool is_ours;

	if (segment_read(&segment, wal->directory, &wal->id, wal->segment, error) == -1)
		return -1;
	is_ours = segment.header.salt == wal->salt &&
		  (wal->last == 0 || (wal->last < segment.size &&
					 frame_read(&frame, segment.bytes + wal->last,
					     segment.size - wal->last, wal->salt) &&
					 frame.sequence + 1 == wal->sequence));
	free(segment.bytes);
	if (!is_ours)
		return error_set(
		    error, "%s has the files of another store, or old ones", wal->directory->path);
	return 0;
}

int wal_recover(struct wal *wal, struct error *error)
{
	struct segment_header header;
	bool named, is_ours;

	if (wal->fd != -1)
		return wal->wanted == 0 ? 0 : make_room(wal, wal->wanted, RESERVE, error);
	if (directory_reopen(wal->directory, error) == -1)
		return -1;
	is_ours = check_segment(wal, error) == 0;
	directory_adopt(wal->directory, is_ours);
	if (!is_ours)
		return -1;
	if (next_header(wal, &header) == -1 || start_segment(wal, &header, &named) == -1)
		return fail(wal->directory, NEW_FILE, error);
	return 0;
}

void wal_close(struct wal *wal)
{
	if (wal->fd != -1)
		close(wal->fd);
	wal->fd = -1;
}

/* --- files that are used again --- */

void wal_recycle(const struct directory *directory, uint64_t segment)
{
	char name[SEGMENT_NAME_MAX], path[FILENAME_MAX], spare[FILENAME_MAX];
	struct stat stat_;

	segment_name(segment, name);
	directory_path(directory, name, path);
	directory_path(directory, SPARE_FILE, spare);
	if (stat(path, &stat_) == -1)
		return;
	if (stat_.st_size > (off_t)WAL_SEGMENT_SIZE || access(spare, F_OK) == 0 ||
	    rename(path, spare) == -1)
		unlink(path);
}

void wal_recycle_up_to(const struct directory *directory, uint64_t applied)
{
	DIR *files = opendir(directory->path);
	const struct dirent *file;

	while (files != NULL && (file = readdir(files)) != NULL) {
		uint64_t number = segment_number(file->d_name);

		if (number != 0 && number <= applied)
			wal_recycle(directory, number);
	}
	if (files != NULL)
		closedir(files);
}
