/*
 * The spool: what was appended is read, whatever was in the file before; wherever the power failed, what is
 * read is a beginning of it, by whole batches; and bytes that have rotted in the middle are found out.
 */
#include "kv/spool.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kv/batch.h"
#include "kv/spool_head.h"

static const struct siphash_key keys[SPOOL_FILES] = { { 1, 2 }, { 3, 4 } }, another = { 5, 6 };

static char directory[] = "/tmp/echod-spool-XXXXXX";
static struct spool *spool;

static const char *path_of(int file)
{
	static char path[64];

	snprintf(path, sizeof(path), "%s/" SPOOL_NAME, directory, (unsigned)file);
	return path;
}

static void open_spool(void)
{
	strcpy(directory + strlen(directory) - 6, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	spool = spool_open(directory, keys);
	ck_assert_ptr_nonnull(spool);
}

static void close_spool(void)
{
	spool->medium.ops->close(&spool->medium);
	for (int i = 0; i < SPOOL_FILES; i++)
		unlink(path_of(i));
	rmdir(directory);
}

/* --- batches: changes whose keys are numbers in a row --- */

static void add_changes(struct batch *batch, unsigned first, unsigned count, size_t value_length)
{
	static char value[100000];

	for (unsigned number = first; number < first + count; number++) {
		char key[16];
		struct change change = { .key = key, .value = value };

		change.key_length = (size_t)snprintf(key, sizeof(key), "%u", number);
		change.value_length = value_length;
		memset(value, 'a' + (int)(number % 26), value_length);
		ck_assert_int_eq(batch_add(batch, &change), 0);
	}
}

static int append(int file, unsigned first, unsigned count, size_t value_length)
{
	struct batch *batch = batch_new(0);
	int result;

	add_changes(batch, first, count, value_length);
	batch->spool_file = file;
	result = spool->medium.ops->commit(&spool->medium, batch);
	batch_free(batch);
	return result;
}

static struct spool_content content_of(int file, const struct siphash_key *key)
{
	struct spool_content content;
	int fd = open(path_of(file), O_RDONLY | O_CLOEXEC);

	ck_assert_int_ne(fd, -1);
	ck_assert_int_eq(spool_read(fd, key, &content), 0);
	close(fd);
	return content;
}

/* How many changes it holds, from that number on and in a row; frees it. */
static unsigned count_changes(struct spool_content *content, unsigned first)
{
	struct batch_record *record;
	unsigned count = 0;

	if (content->batch == NULL)
		return 0;
	TAILQ_FOREACH (record, &content->batch->records, entry) {
		const unsigned char *at = record->bytes + RECORD_HEADER;
		struct change change;
		char key[16];

		while (change_read(&change, &at, record->bytes + record->length) == 1) {
			snprintf(key, sizeof(key), "%u", first + count++);
			ck_assert_uint_eq(change.key_length, strlen(key));
			ck_assert_mem_eq(change.key, key, change.key_length);
		}
	}
	batch_free(content->batch);
	content->batch = NULL;
	return count;
}

static void expect_changes(int file, const struct siphash_key *key, unsigned first, unsigned count)
{
	struct spool_content content = content_of(file, key);

	ck_assert(!content.damaged);
	ck_assert_uint_eq(count_changes(&content, first), count);
}

static void put(int fd, const void *bytes, size_t length, off_t at)
{
	ck_assert_int_eq(pwrite(fd, bytes, length, at), (ssize_t)length);
}

/* --- tests --- */

START_TEST(what_was_appended_is_read)
{
	struct spool_content content;

	expect_changes(0, &keys[0], 0, 0);
	ck_assert_int_eq(append(0, 0, 1, 10), 0);
	ck_assert_int_eq(append(0, 1, 3000, 50), 0);     /* several records */
	ck_assert_int_eq(append(0, 3001, 20, 90000), 0); /* the file has to grow */
	ck_assert_int_eq(append(0, 3021, 1, 0), 0);
	ck_assert_int_eq(append(1, 0, 7, 10), 0);
	expect_changes(0, &keys[0], 0, 3022);
	expect_changes(1, &keys[1], 0, 7);
	content = content_of(0, &keys[0]);
	ck_assert_uint_eq(content.last, content.first + 3);
	batch_free(content.batch);
	content = content_of(1, &keys[1]);
	ck_assert_uint_eq(content.first, 5); /* the numbers go on from file to file */
	batch_free(content.batch);
}
END_TEST

/* One client, who asks again and again: a record each would be a hundred times their size. */
START_TEST(small_batches_take_little_memory)
{
	struct batch *all = batch_new(0);
	struct spool_content content;

	for (unsigned i = 0; i < 1000; i++) {
		struct batch *batch = batch_new(0);

		add_changes(batch, i, 1, 100);
		batch_join(batch, all);
		batch_free(batch);
		ck_assert_int_eq(append(0, i, 1, 100), 0);
	}
	content = content_of(0, &keys[0]);
	for (int i = 0; i < 2; i++) {
		struct batch *batch = i == 0 ? all : content.batch;
		struct batch_record *record;
		size_t memory = 0;

		TAILQ_FOREACH (record, &batch->records, entry)
			memory += record->capacity;
		ck_assert_uint_lt(memory, 2 * batch->size);
	}
	batch_add_checksums(all);
	batch_add_checksums(content.batch);
	ck_assert_uint_eq(count_changes(&content, 0), 1000);
	content.batch = all;
	ck_assert_uint_eq(count_changes(&content, 0), 1000);
}
END_TEST

/* A store that is full refuses change after change, and its batch stays open. */
START_TEST(what_was_taken_back_takes_no_memory)
{
	static char bytes[30000];
	const struct change small = { "a", "1", 1, 1, false };
	const struct table_key key = { "key", 3, 0 };
	struct batch *batch = batch_new(0);
	struct undo *first;

	ck_assert_int_eq(batch_add(batch, &small), 0);
	first = batch_add_undo(batch, &key, NULL);
	for (size_t length = 0; length < sizeof(bytes); length += 100) {
		const struct change change = { key.bytes, bytes, key.length, length, false };
		const struct slice value = { bytes, length };

		ck_assert_int_eq(batch_add(batch, &change), 0);
		ck_assert_ptr_nonnull(batch_add_undo(batch, &key, &value));
		batch_drop_undo(batch);
		batch_undo_last(batch, &change);
		ck_assert_ptr_eq(
		    TAILQ_FIRST(&batch->records), TAILQ_LAST(&batch->records, batch_records));
		ck_assert_ptr_eq(batch->undo, first);
	}
	ck_assert_uint_eq(batch->changes, 1);
	batch_drop_undo(batch);
	batch_undo_last(batch, &small);
	ck_assert(TAILQ_EMPTY(&batch->records));
	ck_assert_ptr_null(batch->blocks);
	batch_free(batch);
}
END_TEST

START_TEST(a_file_that_is_begun_anew_is_empty)
{
	for (unsigned i = 0; i < 5; i++)
		ck_assert_int_eq(append(0, i, 1, 100), 0);
	spool_begin(spool, 0, &another);
	expect_changes(0, &another, 0, 0);
	ck_assert_int_eq(append(0, 0, 1, 100), 0); /* as long as the old one, which others follow */
	expect_changes(0, &another, 0, 1);
}
END_TEST

START_TEST(a_file_that_has_grown_is_cut)
{
	struct stat file;

	ck_assert_int_eq(append(0, 0, 400, 90000), 0);
	expect_changes(0, &keys[0], 0, 400);
	spool_begin(spool, 0, &another);
	ck_assert_int_eq(append(0, 0, 1, 90000), 0);
	ck_assert_int_eq(stat(path_of(0), &file), 0);
	ck_assert_int_le(file.st_size, 16 << 20);
	ck_assert_int_eq(append(0, 1, 399, 90000), 0);
	expect_changes(0, &another, 0, 400);
}
END_TEST

/* The bytes of the last batch get to the disk in any order: as many of them as you like are the old ones. */
START_TEST(a_batch_that_is_torn_is_none)
{
	static unsigned char before[60000], after[60000];
	int fd = open(path_of(0), O_RDWR | O_CLOEXEC);
	size_t begin, end;

	ck_assert_int_eq(append(0, 0, 3, 20), 0);
	begin = spool->files[0].end;
	ck_assert_int_eq(pread(fd, before, sizeof(before), 0), sizeof(before));
	ck_assert_int_eq(append(0, 3, 500, 50), 0); /* three records */
	end = spool->files[0].end;
	ck_assert_uint_lt(end, sizeof(after));
	ck_assert_int_eq(pread(fd, after, sizeof(after), 0), sizeof(after));
	for (size_t at = begin; at < end; at += 97) {
		size_t length = end - at < 97 ? end - at : 97;

		/* A piece is missing, all behind it is, or all in front of it. */
		put(fd, before + at, length, (off_t)at);
		expect_changes(0, &keys[0], 0, memcmp(before + at, after + at, length) ? 3 : 503);
		put(fd, before + at, end - at, (off_t)at);
		expect_changes(0, &keys[0], 0, 3);
		put(fd, after + begin, end - begin, (off_t)begin);
		put(fd, before + begin, at - begin, (off_t)begin);
		expect_changes(0, &keys[0], 0, at == begin ? 503 : 3);
		put(fd, after + begin, end - begin, (off_t)begin);
	}
	close(fd);
}
END_TEST

START_TEST(a_new_head_does_not_fit_an_old_record)
{
	unsigned char old[200];
	int fd = open(path_of(0), O_RDWR | O_CLOEXEC);
	size_t length;

	ck_assert_int_eq(append(0, 7, 1, 100), 0);
	length = spool->files[0].end - SPOOL_HEAD_SIZE;
	ck_assert_int_eq(pread(fd, old, length, SPOOL_HEAD_SIZE), (ssize_t)length);
	spool_begin(spool, 0, &another);
	ck_assert_int_eq(append(0, 8, 1, 100), 0);
	put(fd, old, length, SPOOL_HEAD_SIZE);
	expect_changes(0, &another, 0, 0);
	close(fd);
}
END_TEST

/* Each bit of all batches but the last; what the last one loses cannot be told from a power failure. */
START_TEST(what_has_rotted_is_found_out)
{
	int fd = open(path_of(0), O_RDWR | O_CLOEXEC);
	off_t end;

	ck_assert_int_eq(append(0, 0, 2, 40), 0);
	ck_assert_int_eq(append(0, 2, 2, 40), 0);
	end = (off_t)spool->files[0].end;
	ck_assert_int_eq(append(0, 4, 1, 40), 0);
	for (off_t bit = 0; bit < 8 * end; bit++) {
		struct spool_content content;
		unsigned char byte, rotten;

		ck_assert_int_eq(pread(fd, &byte, 1, bit / 8), 1);
		rotten = byte ^ (unsigned char)(1 << bit % 8);
		put(fd, &rotten, 1, bit / 8);
		content = content_of(0, &keys[0]);
		ck_assert_msg(content.damaged, "bit %lld", (long long)bit);
		count_changes(&content, 0);
		put(fd, &byte, 1, bit / 8);
	}
	ck_assert_int_eq(ftruncate(fd, 1000), 0);
	ck_assert(content_of(0, &keys[0]).damaged);
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	ck_assert(content_of(0, &keys[0]).damaged);
	close(fd);
}
END_TEST

/* What a client stores looks like a batch, but for the seal: it is none, wherever the batch in front ends. */
START_TEST(a_value_is_not_taken_for_a_batch)
{
	static unsigned char forged[4096];
	struct batch *batch = batch_new(0);
	struct batch_record *record;
	int fd = open(path_of(0), O_RDWR | O_CLOEXEC);
	size_t length;

	add_changes(batch, 1, 1, 10);
	batch_add_checksums(batch);
	record = TAILQ_FIRST(&batch->records);
	ck_assert_int_eq(append(0, 0, 1, 10), 0);
	length = record->length;
	spool_head_write(record->head,
	    &(struct spool_head){ .number = 2, .is_last = true, .length = length }, &another);
	memcpy(forged, record->head, SPOOL_HEAD_SIZE + length);
	put(fd, forged, sizeof(forged), (off_t)spool->files[0].end);
	expect_changes(0, &keys[0], 0, 1);
	batch_free(batch);
	close(fd);
}
END_TEST

/* Files may not grow. */
START_TEST(what_has_failed_is_not_found_after_a_recovery)
{
	struct rlimit before, none;

	ck_assert_int_eq(append(0, 0, 10, 50), 0);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	none = (struct rlimit){ SPOOL_FILE_MIN, before.rlim_max };
	setrlimit(RLIMIT_FSIZE, &none);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(append(0, 10, 20, 90000), -1);
		ck_assert_ptr_nonnull(strstr(spool->medium.failure, strerror(EFBIG)));
		ck_assert_int_eq(spool->medium.ops->recover(&spool->medium), -1);
	}
	setrlimit(RLIMIT_FSIZE, &before);
	ck_assert_int_eq(spool->medium.ops->recover(&spool->medium), 0);
	expect_changes(0, &keys[0], 0, 10);
	ck_assert_int_eq(append(0, 10, 1, 50), 0);
	expect_changes(0, &keys[0], 0, 11);
}
END_TEST

/* The disk takes several records, and says that it has not; the next batch covers but the first of them. */
START_TEST(what_has_failed_and_is_there_is_taken_away)
{
	size_t begin;

	ck_assert_int_eq(append(0, 0, 10, 50), 0);
	begin = spool->files[0].end;
	ck_assert_int_eq(append(0, 10, 500, 50), 0);
	expect_changes(0, &keys[0], 0, 510);
	spool->torn = &spool->files[0];
	spool->wanted = spool->files[0].end - begin;
	spool->files[0].end = begin;
	spool->last--;
	ck_assert_int_eq(spool->medium.ops->recover(&spool->medium), 0);
	expect_changes(0, &keys[0], 0, 10);
	ck_assert_int_eq(append(0, 10, 1, 50), 0);
	expect_changes(0, &keys[0], 0, 11);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("spool");
	TCase *test = tcase_create("spool");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(test, open_spool, close_spool);
	tcase_add_test(test, what_was_appended_is_read);
	tcase_add_test(test, small_batches_take_little_memory);
	tcase_add_test(test, what_was_taken_back_takes_no_memory);
	tcase_add_test(test, a_file_that_is_begun_anew_is_empty);
	tcase_add_test(test, a_file_that_has_grown_is_cut);
	tcase_add_test(test, a_batch_that_is_torn_is_none);
	tcase_add_test(test, a_new_head_does_not_fit_an_old_record);
	tcase_add_test(test, what_has_rotted_is_found_out);
	tcase_add_test(test, a_value_is_not_taken_for_a_batch);
	tcase_add_test(test, what_has_failed_is_not_found_after_a_recovery);
	tcase_add_test(test, what_has_failed_and_is_there_is_taken_away);
	suite_add_tcase(suite, test);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
