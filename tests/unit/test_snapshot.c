/* The snapshot against a model of a small universe of keys; then rows that have been changed behind its back. */
#include "kv/snapshot.h"

#include <check.h>
#include <errno.h>
#include <ftw.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "core/error.h"
#include "kv/change.h"

#define UNIVERSE 500

static const struct store_id id = { "the store's own" };

static char path[] = "/tmp/echod-snapshot-XXXXXX";
static struct directory directory;
static struct snapshot *snapshot;
static struct error error;
static unsigned versions[UNIVERSE]; /* what the model says; 0 = not there */

/* --- the C library's functions, which can fail --- */

static atomic_bool reads_fail;
static int good_syncs; /* of files: so many succeed before one fails; -1 = all do */
static bool no_syncs;  /* they do nothing, which is faster */

ssize_t pread64(int fd, void *bytes, size_t length, off64_t at)
{
	if (!reads_fail)
		return syscall(SYS_pread64, fd, bytes, length, at);
	errno = EIO;
	return -1;
}

int fdatasync(int fd)
{
	struct stat file;

	if (no_syncs)
		return 0;
	/* SQLite does not look at what becomes of a directory. */
	fstat(fd, &file);
	if (S_ISDIR(file.st_mode) || good_syncs == -1 || good_syncs-- > 0)
		return (int)syscall(SYS_fdatasync, fd);
	errno = EIO;
	return -1;
}

/* --- the snapshot --- */

static const char *file_path(void)
{
	static char file[FILENAME_MAX];

	directory_path(&directory, "snapshot.db", file);
	return file;
}

static void open_snapshot(void)
{
	snapshot = snapshot_open(&directory, NULL, &error);
	ck_assert_msg(snapshot != NULL, "%s", error.text);
}

static void make_snapshot(void)
{
	good_syncs = -1;
	strcpy(path + strlen(path) - 6, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(path));
	ck_assert_int_eq(directory_open(&directory, path, true, &error), 0);
	ck_assert_msg(snapshot_create(&directory, &id, &error) == 0, "%s", error.text);
	memset(versions, 0, sizeof(versions));
	open_snapshot();
}

static int remove_one(const char *file, const struct stat *st, int type, struct FTW *ftw)
{
	(void)st;
	(void)type;
	(void)ftw;
	return remove(file);
}

static void remove_snapshot(void)
{
	snapshot_close(snapshot);
	directory_close(&directory);
	nftw(path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* The value of a version; some are long enough for pages of their own. */
static struct slice value_of(unsigned n, unsigned version)
{
	static char values[UNIVERSE][20000];
	size_t length = version % 97 == 0 ? 20000 : 30 + version % 50;

	memset(values[n], 'a' + (int)(version % 26), length);
	snprintf(values[n], 30, "%u.%u", n, version);
	return (struct slice){ values[n], length };
}

static struct slice key_of(unsigned n)
{
	static char keys[UNIVERSE][16];

	return (struct slice){ keys[n], (size_t)snprintf(keys[n], 16, "key%06u", n) };
}

/* Versions of some keys, version 0 = a deletion; the model follows if they are applied. */
static int apply(const unsigned *numbers, const unsigned *news, size_t count, uint64_t segment)
{
	static struct change changes[UNIVERSE];
	const struct change *sorted[UNIVERSE] = { NULL };
	int result;

	for (size_t i = 0; i < count; i++) {
		changes[i] = (struct change){ .key = key_of(numbers[i]), .deletion = news[i] == 0 };
		if (news[i] != 0)
			changes[i].item.value = value_of(numbers[i], news[i]);
		if (news[i] % 5 == 1)
			changes[i].item.expires = news[i];
		sorted[i] = &changes[i];
	}
	result = snapshot_apply(snapshot, sorted, count, segment, &error);
	for (size_t i = 0; i < count && result == 0; i++)
		versions[numbers[i]] = news[i];
	return result;
}

/* The same version of the first so many keys. */
static int apply_all(unsigned count, unsigned version, uint64_t segment)
{
	unsigned numbers[UNIVERSE], news[UNIVERSE];

	for (unsigned n = 0; n < count; n++) {
		numbers[n] = n;
		news[n] = version;
	}
	return apply(numbers, news, count, segment);
}

static int note_rows(void *arg, const struct change *changes, size_t count)
{
	unsigned *found = arg, n, version;
	char text[40];

	ck_assert_uint_le(count, SNAPSHOT_LOAD_MAX);
	for (size_t i = 0; i < count; i++) {
		const struct slice *value = &changes[i].item.value;

		ck_assert_uint_ge(value->length, 30);
		memcpy(text, value->bytes, 30);
		ck_assert_int_eq(sscanf(text, "%u.%u", &n, &version), 2);
		ck_assert_uint_lt(n, UNIVERSE);
		ck_assert_mem_eq(changes[i].key.bytes, key_of(n).bytes, changes[i].key.length);
		ck_assert_uint_eq(value->length, value_of(n, version).length);
		ck_assert_mem_eq(value->bytes, value_of(n, version).bytes, value->length);
		ck_assert_int_eq(changes[i].item.expires, version % 5 == 1 ? version : 0);
		found[n] = version;
	}
	return 0;
}

/* Opens it anew and loads it: 0, or -1 with the error. */
static int load(void)
{
	unsigned found[UNIVERSE] = { 0 };
	int result;

	snapshot_close(snapshot);
	snapshot = snapshot_open(&directory, NULL, &error);
	if (snapshot == NULL)
		return -1;
	result = snapshot_load(snapshot, note_rows, found, &error);
	if (result == 0)
		ck_assert_mem_eq(found, versions, sizeof(found));
	return result;
}

static void run_sql(const char *statement)
{
	sqlite3 *db;

	ck_assert_int_eq(sqlite3_open(file_path(), &db), SQLITE_OK);
	ck_assert_int_eq(sqlite3_exec(db, statement, NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
}

/* --- tests --- */

START_TEST(what_was_applied_is_loaded)
{
	unsigned seed = (unsigned)time(NULL), numbers[UNIVERSE], news[UNIVERSE];

	printf("# seed %u\n", seed);
	srand(seed);
	ck_assert_int_eq(load(), 0);
	for (unsigned round = 1; round < 30; round++) {
		size_t count = 0;

		for (unsigned n = 0; n < UNIVERSE; n++) {
			if (rand() % 3 != 0)
				continue;
			numbers[count] = n;
			news[count++] = rand() % 4 == 0 ? 0 : 1 + (unsigned)rand() % 10000;
		}
		ck_assert_msg(apply(numbers, news, count, round) == 0, "%s", error.text);
		ck_assert_uint_eq(snapshot_meta(snapshot)->segment, round);
		if (round % 3 == 0)
			ck_assert_msg(load() == 0, "%s", error.text);
		ck_assert_uint_eq(snapshot_meta(snapshot)->segment, round);
		ck_assert_mem_eq(&snapshot_meta(snapshot)->id, &id, sizeof(id));
	}
	ck_assert_msg(snapshot_check(snapshot, &error) == 0, "%s", error.text);
}
END_TEST

START_TEST(a_failed_transaction_leaves_nothing)
{
	struct rlimit limit;
	struct stat file;

	ck_assert_int_eq(apply_all(UNIVERSE, 1, 1), 0);
	ck_assert_int_eq(stat(file_path(), &file), 0);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &limit);
	limit.rlim_cur = (rlim_t)file.st_size;
	setrlimit(RLIMIT_FSIZE, &limit);
	ck_assert_int_eq(apply_all(UNIVERSE, 97, 2), -1);
	ck_assert_uint_eq(snapshot_meta(snapshot)->segment, 1);
	limit.rlim_cur = RLIM_INFINITY;
	setrlimit(RLIMIT_FSIZE, &limit);
	ck_assert_msg(load() == 0, "%s", error.text);
	ck_assert_uint_eq(snapshot_meta(snapshot)->segment, 1);
	ck_assert_int_eq(apply_all(UNIVERSE, 2, 2), 0);
	ck_assert_int_eq(load(), 0);
}
END_TEST

/*
 * A sync fails, of which nobody knows whether the transaction is there: it is tried again, and must have been written
 * and synced when that returns, even if SQLite finds that it changes nothing.
 */
START_TEST(a_transaction_that_is_tried_again_is_durable)
{
	int syncs = 0;

	ck_assert_int_eq(apply_all(20, 1, 1), 0);
	good_syncs = _i;
	ck_assert_int_eq(apply_all(20, 2, 2), -1);
	good_syncs = -1;
	snapshot_close(snapshot);
	open_snapshot();
	good_syncs = syncs = 1000;
	ck_assert_int_eq(apply_all(20, 2, 2), 0);
	ck_assert_int_lt(good_syncs, syncs);
	good_syncs = -1;
	ck_assert_int_eq(load(), 0);
}
END_TEST

/* It is no damage, though SQLite says so. */
START_TEST(a_read_that_fails_is_an_error_of_the_disk)
{
	ck_assert_int_eq(apply_all(UNIVERSE, 97, 1), 0);
	snapshot_close(snapshot);
	open_snapshot();
	reads_fail = true;
	ck_assert_int_eq(snapshot_load(snapshot, note_rows, versions, &error), -1);
	ck_assert_int_eq(error.code, EIO);
	ck_assert_int_eq(snapshot_check(snapshot, &error), -1);
	ck_assert_int_eq(error.code, EIO);
	ck_assert_int_eq(apply_all(UNIVERSE, 2, 2), -1);
	ck_assert_int_eq(error.code, EIO);
	reads_fail = false;
	ck_assert_msg(load() == 0, "%s", error.text);
}
END_TEST

START_TEST(another_program_that_reads_is_no_failure)
{
	sqlite3 *db;

	ck_assert_int_eq(apply_all(20, 1, 1), 0);
	ck_assert_int_eq(sqlite3_open(file_path(), &db), SQLITE_OK);
	ck_assert_int_eq(
	    sqlite3_exec(db, "BEGIN; SELECT count(*) FROM kv", NULL, NULL, NULL), SQLITE_OK);
	ck_assert_int_eq(apply_all(20, 2, 2), -1);
	ck_assert_int_eq(error.code, EBUSY);
	ck_assert_int_eq(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
	sqlite3_close(db);
	ck_assert_int_eq(apply_all(20, 2, 2), 0);
	ck_assert_int_eq(load(), 0);
}
END_TEST

static const char *const statements[] = {
	"DELETE FROM kv WHERE key = (SELECT max(key) FROM kv)",
	"INSERT INTO kv SELECT x'00', item FROM kv LIMIT 1",
	"UPDATE kv SET item = substr(item, 2) WHERE key = (SELECT max(key) FROM kv)",
	"UPDATE kv SET item = (SELECT item FROM kv LIMIT 1) WHERE key = (SELECT max(key) FROM kv)",
	"UPDATE kv SET item = x'' WHERE key = (SELECT max(key) FROM kv)",
	"UPDATE kv SET item = 1.5 WHERE key = (SELECT max(key) FROM kv)",
	"DELETE FROM kv",
	"DELETE FROM meta",
	"UPDATE meta SET id = NULL",
	"UPDATE meta SET segment = segment + 1",
	"UPDATE meta SET keys = keys - 1",
	"DROP TABLE kv",
	"DROP TABLE meta",
};

START_TEST(what_others_have_changed_is_noticed)
{
	ck_assert_int_eq(apply_all(UNIVERSE, 3, 1), 0);
	snapshot_close(snapshot);
	snapshot = NULL;
	run_sql(statements[_i]);
	ck_assert_msg(load() == -1, "%s", statements[_i]);
	ck_assert_int_eq(error.code, EBADMSG);
}
END_TEST

/* The bytes of the file; returns their number. */
static size_t read_file(unsigned char *bytes, size_t size)
{
	FILE *file = fopen(file_path(), "r");
	size_t length;

	ck_assert_ptr_nonnull(file);
	length = fread(bytes, 1, size, file);
	ck_assert_uint_lt(length, size);
	fclose(file);
	return length;
}

static void write_file(const unsigned char *bytes, size_t length)
{
	FILE *file = fopen(file_path(), "w");

	ck_assert_ptr_nonnull(file);
	ck_assert_uint_eq(fwrite(bytes, 1, length, file), length);
	ck_assert_int_eq(fclose(file), 0);
}

/* What does not refuse to be loaded has all that was stored, and is written only if it is sound. */
static void load_flipped(size_t bit)
{
	unsigned before[UNIVERSE];

	memcpy(before, versions, sizeof(before));
	if (load() == -1 || snapshot_check(snapshot, &error) == -1) {
		/* Of another format, or damaged; never as if there were none. */
		ck_assert_msg(error.code == 0 || error.code == EBADMSG, "bit %zu: %s (%d)", bit,
		    error.text, error.code);
	} else {
		ck_assert_msg(apply_all(7, 9, 2) == 0, "bit %zu: %s", bit, error.text);
		ck_assert_msg(load() == 0, "bit %zu: %s", bit, error.text);
	}
	memcpy(versions, before, sizeof(before));
}

/* A check has no time for all bits: it takes each 997th, from another one on every time; $FLIP_STEP=1 takes them all. */
START_TEST(a_flipped_bit_is_harmless_or_noticed)
{
	static unsigned char bytes[1 << 20];
	const char *step = getenv("FLIP_STEP");
	size_t every = step == NULL ? 997 : (size_t)atol(step), length, count = 0;

	ck_assert_int_eq(apply_all(40, 3, 1), 0);
	ck_assert_int_eq(apply_all(2, 97, 1), 0); /* in pages of their own */
	ck_assert_int_eq(apply_all(1, 0, 1), 0);  /* which are free then */
	snapshot_close(snapshot);
	snapshot = NULL;
	length = read_file(bytes, sizeof(bytes));
	no_syncs = true;
	for (size_t bit = (size_t)time(NULL) % every; bit < 8 * length; bit += every, count++) {
		bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
		write_file(bytes, length);
		load_flipped(bit);
		bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
	}
	printf("# %zu of %zu bits\n", count, 8 * length);
	write_file(bytes, length);
	ck_assert_int_eq(load(), 0);
}
END_TEST

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void)
{
	Suite *suite = suite_create("snapshot");
	TCase *test = tcase_create("snapshot");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(test, make_snapshot, remove_snapshot);
	tcase_add_test(test, what_was_applied_is_loaded);
	tcase_add_test(test, a_failed_transaction_leaves_nothing);
	tcase_add_loop_test(test, a_transaction_that_is_tried_again_is_durable, 0, 4);
	tcase_add_test(test, a_read_that_fails_is_an_error_of_the_disk);
	tcase_add_test(test, another_program_that_reads_is_no_failure);
	tcase_add_loop_test(test, what_others_have_changed_is_noticed, 0, COUNT_OF(statements));
	tcase_add_test(test, a_flipped_bit_is_harmless_or_noticed);
	tcase_set_timeout(test, getenv("FLIP_STEP") == NULL ? 30 : 3000);
	suite_add_tcase(suite, test);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
