/*
 * The write-ahead log: what was appended is replayed, across segments and whatever their files held before; wherever the
 * power failed, a replay finds a beginning of it, by whole batches; and bytes that have rotted are found out.
 */
#include "kv/wal.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "core/error.h"
#include "kv/change.h"
#include "kv/segment.h"
#include "kv/wal_reader.h"

static const struct store_id id = { "the store's own" }, another = { "another one's" };

static char path[] = "/tmp/echod-wal-XXXXXX";
static struct directory directory;
static struct wal wal;
static struct error error;

/* --- the C library's functions, which can fail --- */

static int sync_error, directory_error; /* an errno, for all calls; 0 = none */
static bool sync_is_done;               /* although it fails */

int fdatasync(int fd)
{
	if (sync_error == 0 || sync_is_done)
		syscall(SYS_fdatasync, fd);
	errno = sync_error;
	return sync_error == 0 ? 0 : -1;
}

int fsync(int fd)
{
	if (directory_error == 0)
		return (int)syscall(SYS_fsync, fd);
	errno = directory_error;
	return -1;
}

static void limit_files(rlim_t size)
{
	struct rlimit limit;

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = size;
	setrlimit(RLIMIT_FSIZE, &limit);
}

/* --- the log --- */

static int ignore_change(void *arg, const struct change *change)
{
	(void)arg;
	(void)change;
	return 0;
}

static void make_log(void)
{
	strcpy(path + strlen(path) - 6, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(path));
	ck_assert_int_eq(directory_open(&directory, path, true, &error), 0);
	ck_assert_msg(wal_create(&directory, &id, 0, &error) == 0, "%s", error.text);
	ck_assert_int_eq(
	    wal_replay(&wal, &directory, &id, 0, true, ignore_change, NULL, &error), 0);
}

static int remove_one(const char *file, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(file);
}

static void remove_log(void)
{
	wal_close(&wal);
	directory_close(&directory);
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static const char *segment_path(uint64_t number)
{
	static char file[FILENAME_MAX];
	char name[SEGMENT_NAME_MAX];

	segment_name(number, name);
	directory_path(&directory, name, file);
	return file;
}

/* A change of key number n to a value of that length, which begins with the number; SIZE_MAX = its deletion. */
static void add(struct batch *batch, unsigned n, size_t length)
{
	static char value[1 << 20];
	char key[16];
	struct change change = { .deletion = length == SIZE_MAX };

	change.key.bytes = key;
	change.key.length = (size_t)snprintf(key, sizeof(key), "key%u", n);
	if (!change.deletion) {
		memset(value, 'v', length);
		memcpy(value, &n, sizeof(n));
		change.item.value = (struct slice){ value, length };
	}
	ck_assert_int_eq(batch_add(batch, &change), 0);
}

/* A batch of so many changes, from that key on. */
static int append(unsigned first, unsigned count, size_t length)
{
	struct batch *batch = batch_new(1);
	int result;

	for (unsigned n = first; n < first + count; n++)
		add(batch, n, length);
	result = wal_append(&wal, batch, &error);
	batch_free(batch);
	return result;
}

struct found {
	unsigned first, count; /* of the keys, which must be in a row */
};

static int count_change(void *arg, const struct change *change)
{
	struct found *found = arg;
	char key[16];
	int length = snprintf(key, sizeof(key), "key%u", found->first + found->count);
	unsigned n;

	ck_assert_uint_eq(change->key.length, (size_t)length);
	ck_assert_mem_eq(change->key.bytes, key, (size_t)length);
	if (!change->deletion) {
		memcpy(&n, change->item.value.bytes, sizeof(n));
		ck_assert_uint_eq(n, found->first + found->count);
	}
	found->count++;
	return 0;
}

/* How many changes a replay finds behind that segment, the first of which is of that key; -1 = it is refused. */
static int replay_from(uint64_t applied, unsigned first)
{
	struct found found = { first, 0 };

	wal_close(&wal);
	if (wal_replay(&wal, &directory, &id, applied, true, count_change, &found, &error) == -1)
		return -1;
	ck_assert_int_ne(wal.fd, -1);
	return (int)found.count;
}

static int replay(void)
{
	return replay_from(0, 0);
}

/* Exchanges bytes of a segment; `before`, if not NULL, gets what was there. */
static void put(uint64_t segment, size_t at, const void *bytes, size_t length, void *before)
{
	int fd = open(segment_path(segment), O_RDWR | O_CLOEXEC);

	ck_assert_int_ne(fd, -1);
	if (before != NULL)
		ck_assert_int_eq(pread(fd, before, length, (off_t)at), (ssize_t)length);
	ck_assert_int_eq(pwrite(fd, bytes, length, (off_t)at), (ssize_t)length);
	close(fd);
}

static void get(uint64_t segment, size_t at, void *bytes, size_t length)
{
	int fd = open(segment_path(segment), O_RDONLY | O_CLOEXEC);

	ck_assert_int_eq(pread(fd, bytes, length, (off_t)at), (ssize_t)length);
	close(fd);
}

/* What a replay finds when that bit is another one. */
static int replay_flipped(uint64_t segment, size_t bit)
{
	unsigned char byte, flipped;
	int result;

	get(segment, bit / 8, &byte, 1);
	flipped = byte ^ (unsigned char)(1 << bit % 8);
	put(segment, bit / 8, &flipped, 1, NULL);
	result = replay();
	put(segment, bit / 8, &byte, 1, NULL);
	return result;
}

/* --- tests --- */

START_TEST(what_was_appended_is_replayed)
{
	unsigned count = 0;

	ck_assert_int_eq(replay(), 0);
	for (int round = 0; round < 5; round++) {
		for (unsigned i = 0; i < 40; i++) {
			ck_assert_int_eq(append(count, i, i % 7 == 0 ? SIZE_MAX : 4 + i * i), 0);
			count += i;
			if (i % 11 == 0)
				ck_assert_int_eq(wal_mark(&wal, &error), 0);
		}
		ck_assert_int_eq(replay(), (int)count);
	}
}
END_TEST

/* A batch may be longer than a segment. */
START_TEST(what_is_in_many_segments_is_replayed)
{
	const unsigned before = 50, large = 20;
	unsigned count = 0;

	for (; count < before; count++)
		ck_assert_int_eq(append(count, 1, 900000), 0);
	ck_assert_int_eq(append(count, large, 1 << 20), 0);
	count += large;
	ck_assert_int_eq(append(count++, 1, 10), 0);
	ck_assert_uint_gt(wal.segment, 4);
	ck_assert_int_eq(replay(), (int)count);
	ck_assert_int_eq(append(count++, 1, 10), 0);
	ck_assert_int_eq(replay(), (int)count);
}
END_TEST

/* Of its old frames nothing is found, however long the new ones are. */
START_TEST(a_segment_is_used_again)
{
	struct stat before, after;
	uint64_t first = wal.segment;

	for (unsigned n = 0; n < 100; n++)
		ck_assert_int_eq(append(n, 1, 1000), 0);
	ck_assert_int_eq(wal_seal(&wal, &error), 0);
	ck_assert_int_eq(stat(segment_path(first), &before), 0);
	wal_recycle(&directory, first);
	ck_assert_int_eq(append(100, 1, 1000), 0);
	ck_assert_int_eq(wal_seal(&wal, &error), 0);
	ck_assert_int_eq(stat(segment_path(wal.segment), &after), 0);
	ck_assert_uint_eq(before.st_ino, after.st_ino);
	ck_assert_int_eq(replay_from(first, 100), 1);
	for (unsigned n = 101; n < 110; n++) {
		ck_assert_int_eq(append(n, 1, 1000), 0);
		ck_assert_int_eq(replay_from(first, 100), (int)n - 99);
	}
}
END_TEST

/* The bytes of the last batch get to the disk in any order: as many of them as you like are the old ones. */
START_TEST(a_batch_that_is_torn_is_none)
{
	static unsigned char before[40000], after[40000];
	size_t begin, length;

	ck_assert_int_eq(append(0, 3, 20), 0);
	begin = wal.end;
	ck_assert_int_eq(append(3, 500, 50), 0);
	length = wal.end - begin;
	ck_assert_uint_lt(length, sizeof(after));
	get(wal.segment, begin, after, length);
	for (size_t at = 0; at < length; at += 512) {
		size_t piece = length - at < 512 ? length - at : 512;

		/* A piece is missing, all behind it is, or all in front of it. */
		put(1, begin + at, before + at, piece, NULL);
		ck_assert_int_eq(replay(), 3);
		put(1, begin + at, before + at, length - at, NULL);
		ck_assert_int_eq(replay(), 3);
		put(1, begin, after, length, NULL);
		put(1, begin, before, at, NULL);
		ck_assert_int_eq(replay(), at == 0 ? 503 : 3);
		put(1, begin, after, length, NULL);
	}
	/* What follows is shorter, and what the torn one has left behind it is no damage. */
	put(1, begin + 600, before, 512, NULL);
	ck_assert_int_eq(replay(), 3);
	ck_assert_int_eq(append(3, 1, 10), 0);
	ck_assert_int_eq(wal_mark(&wal, &error), 0);
	ck_assert_int_eq(replay(), 4);
}
END_TEST

/* Each bit. What the last batch loses can be told from a torn write once a mark follows. */
START_TEST(a_bit_that_has_flipped_is_found_out)
{
	size_t last;

	ck_assert_int_eq(append(0, 2, 30), 0);
	ck_assert_int_eq(append(2, 1, SIZE_MAX), 0);
	last = wal.end;
	ck_assert_int_eq(append(3, 1, 30), 0);
	for (size_t bit = 0; bit < 8 * wal.end; bit++) {
		int found = replay_flipped(1, bit);

		ck_assert_msg(found == -1 || found == 4 || (found == 3 && bit >= 8 * last),
		    "bit %zu: %d", bit, found);
		ck_assert(found != -1 || bit < 8 * last);
	}
	ck_assert_int_eq(replay(), 4);
	ck_assert_int_eq(wal_mark(&wal, &error), 0);
	for (size_t bit = 0; bit < 8 * wal.end; bit++) {
		int found = replay_flipped(1, bit);

		ck_assert_msg(found == -1 || found == 4, "bit %zu: %d", bit, found);
	}
}
END_TEST

/* Each bit of what is used of one that another one follows. */
START_TEST(a_bit_of_a_sealed_segment_that_has_flipped_is_found_out)
{
	size_t end;

	ck_assert_int_eq(append(0, 2, 30), 0);
	ck_assert_int_eq(append(2, 1, 30), 0);
	end = wal.end;
	ck_assert_int_eq(wal_seal(&wal, &error), 0);
	ck_assert_int_eq(append(3, 1, 30), 0);
	for (size_t bit = 0; bit < 8 * end; bit++) {
		int found = replay_flipped(1, bit);

		ck_assert_msg(found == -1 || found == 4, "bit %zu: %d", bit, found);
	}
	for (size_t bit = 0; bit < (size_t)8 * SEGMENT_HEADER; bit++) {
		ck_assert_int_eq(replay_flipped(1, bit), -1);
		ck_assert_int_eq(replay_flipped(2, bit), -1);
	}
}
END_TEST

START_TEST(segments_that_are_missing_are_noticed)
{
	char hidden[FILENAME_MAX];
	struct wal other;

	directory_path(&directory, "hidden", hidden);
	for (unsigned n = 0; n < 4; n++) {
		ck_assert_int_eq(append(n, 1, 10), 0);
		if (n < 3)
			ck_assert_int_eq(wal_seal(&wal, &error), 0);
	}
	for (uint64_t number = 1; number <= 4; number++) {
		ck_assert_int_eq(rename(segment_path(number), hidden), 0);
		ck_assert_int_eq(replay(), -1);
		ck_assert_ptr_nonnull(strstr(error.text, "missing"));
		ck_assert_ptr_nonnull(strstr(error.text, segment_path(number)));
		ck_assert_int_eq(rename(hidden, segment_path(number)), 0);
	}
	ck_assert_int_eq(replay(), 4);
	ck_assert_int_eq(replay_from(2, 2), 2);
	ck_assert_int_eq(
	    wal_replay(&other, &directory, &another, 0, true, ignore_change, NULL, &error), -1);
	ck_assert_ptr_nonnull(strstr(error.text, "another store"));
}
END_TEST

static const size_t short_lengths[] = { 0, 1, 63, 64, 65, 200, 4096, 65536 };

START_TEST(a_segment_cut_short_is_noticed)
{
	ck_assert_int_eq(append(0, 1, 100), 0);
	ck_assert_int_eq(append(1, 1, 100), 0);
	ck_assert_int_eq(truncate(segment_path(1), (off_t)short_lengths[_i]), 0);
	ck_assert_int_eq(replay(), -1);
}
END_TEST

/* --- failures --- */

/* Whether it is on the disk or not: once the log has recovered, it is not found. */
START_TEST(what_has_failed_is_not_found_after_a_recovery)
{
	ck_assert_int_eq(append(0, 10, 50), 0);
	for (int round = 0; round < 4; round++) {
		sync_error = EIO;
		sync_is_done = round % 2 == 0;
		ck_assert_int_eq(append(10, 20, 500), -1);
		ck_assert_ptr_nonnull(strstr(error.text, strerror(EIO)));
		ck_assert_int_eq(wal.fd, -1);
		ck_assert_int_eq(wal_recover(&wal, &error), -1);
		sync_error = 0;
		ck_assert_msg(wal_recover(&wal, &error) == 0, "%s", error.text);
		ck_assert_int_eq(replay(), 10);
	}
	ck_assert_int_eq(append(10, 1, 50), 0);
	ck_assert_int_eq(replay(), 11);
}
END_TEST

/* The kernel takes its bytes for written, though the disk may have none of them. */
START_TEST(a_segment_whose_sync_has_failed_is_not_begun_again)
{
	char new[FILENAME_MAX];

	directory_path(&directory, "wal.new", new);
	sync_error = EIO;
	ck_assert_int_eq(append(0, 1, 50), -1);
	ck_assert_int_eq(wal_recover(&wal, &error), -1);
	ck_assert_int_eq(access(new, F_OK), -1);
	sync_error = 0;
	ck_assert_int_eq(wal_recover(&wal, &error), 0);
	ck_assert_int_eq(replay(), 0);
}
END_TEST

/* And before it has recovered, it may be. */
START_TEST(what_has_failed_is_whole_or_not_there)
{
	int found;

	ck_assert_int_eq(append(0, 10, 50), 0);
	sync_error = EIO;
	ck_assert_int_eq(append(10, 20, 500), -1);
	sync_error = 0;
	found = replay();
	ck_assert(found == 10 || found == 30);
	ck_assert_int_eq(append((unsigned)found, 1, 50), 0);
	ck_assert_int_eq(replay(), found + 1);
}
END_TEST

/* It ends where the files may not grow: deletions go on in the reserve. */
START_TEST(a_full_disk_takes_deletions)
{
	unsigned count = 0, deleted = 0;

	limit_files(1 << 20);
	while (append(count, 1, 30000) == 0)
		count++;
	ck_assert_uint_gt(count, 20);
	ck_assert_int_ne(wal.fd, -1);
	for (; deleted < 1000; deleted++)
		ck_assert_int_eq(append(count + deleted, 1, SIZE_MAX), 0);
	ck_assert_int_eq(replay(), (int)(count + deleted));
	ck_assert_int_eq(append(count + deleted, 1, 30000), -1);
	ck_assert_int_eq(wal_recover(&wal, &error), -1);
	limit_files(RLIM_INFINITY);
	ck_assert_int_eq(wal_recover(&wal, &error), 0);
	ck_assert_int_eq(append(count + deleted, 1, 30000), 0);
	ck_assert_int_eq(replay(), (int)(count + deleted + 1));
}
END_TEST

static const int directory_errors[] = { EIO, ENOSPC };

/* The next segment has its name, though the disk may not know it: whatever is appended then is found. */
START_TEST(a_seal_that_fails_loses_nothing)
{
	unsigned count = 10;

	ck_assert_int_eq(append(0, count, 50), 0);
	directory_error = directory_errors[_i];
	ck_assert_int_eq(wal_seal(&wal, &error), -1);
	for (int i = 0; i < 3 && wal.fd != -1; i++)
		if (append(count, 1, i == 1 ? SIZE_MAX : 50) == 0)
			count++;
	directory_error = 0;
	ck_assert_int_eq(replay(), (int)count);
	ck_assert_int_eq(append(count++, 1, 50), 0);
	ck_assert_int_eq(replay(), (int)count);
}
END_TEST

/* The same of a store whose volume has been exchanged: it is recovered on its own files only. */
START_TEST(a_recovery_is_on_the_same_files)
{
	static unsigned char old[SEGMENT_HEADER + 4096], present[sizeof(old)];

	get(1, 0, old, sizeof(old));
	ck_assert_int_eq(append(0, 10, 50), 0);
	sync_error = EIO;
	ck_assert_int_eq(append(10, 1, 50), -1);
	sync_error = 0;
	put(1, 0, old, sizeof(old), present); /* as in an old backup */
	ck_assert_int_eq(wal_recover(&wal, &error), -1);
	put(1, 0, present, sizeof(present), NULL);
	ck_assert_int_eq(wal_recover(&wal, &error), 0);
	ck_assert_int_eq(replay(), 10);
}
END_TEST

/* What a client stores is a frame, of this segment or of another one, but for its place: it is none. */
START_TEST(a_value_is_not_taken_for_a_frame)
{
	static unsigned char frame[256];
	struct change change = { .key = { "key1", 4 } };
	struct batch *batch = batch_new(1);
	size_t begin = wal.end, length;

	ck_assert_int_eq(append(0, 1, 20), 0);
	length = wal.end - begin;
	get(1, begin, frame, length);
	change.item.value = (struct slice){ (const char *)frame, length };
	ck_assert_int_eq(batch_add(batch, &change), 0);
	ck_assert_int_eq(wal_append(&wal, batch, &error), 0);
	batch_free(batch);
	wal_close(&wal);
	ck_assert_msg(wal_replay(&wal, &directory, &id, 0, true, ignore_change, NULL, &error) == 0,
	    "%s", error.text);
	ck_assert_uint_eq(wal.sequence, 2);
}
END_TEST

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void)
{
	Suite *suite = suite_create("wal");
	TCase *test = tcase_create("wal"), *failures = tcase_create("failures");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(test, make_log, remove_log);
	tcase_add_test(test, what_was_appended_is_replayed);
	tcase_add_test(test, what_is_in_many_segments_is_replayed);
	tcase_add_test(test, a_segment_is_used_again);
	tcase_add_test(test, a_batch_that_is_torn_is_none);
	tcase_add_test(test, a_bit_that_has_flipped_is_found_out);
	tcase_add_test(test, a_bit_of_a_sealed_segment_that_has_flipped_is_found_out);
	tcase_add_test(test, segments_that_are_missing_are_noticed);
	tcase_add_loop_test(test, a_segment_cut_short_is_noticed, 0, COUNT_OF(short_lengths));
	tcase_add_test(test, a_value_is_not_taken_for_a_frame);
	suite_add_tcase(suite, test);
	tcase_add_checked_fixture(failures, make_log, remove_log);
	tcase_add_test(failures, what_has_failed_is_not_found_after_a_recovery);
	tcase_add_test(failures, a_segment_whose_sync_has_failed_is_not_begun_again);
	tcase_add_test(failures, what_has_failed_is_whole_or_not_there);
	tcase_add_test(failures, a_full_disk_takes_deletions);
	tcase_add_loop_test(
	    failures, a_seal_that_fails_loses_nothing, 0, COUNT_OF(directory_errors));
	tcase_add_test(failures, a_recovery_is_on_the_same_files);
	suite_add_tcase(suite, failures);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
