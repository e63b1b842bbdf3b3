/*
 * The journal against a model of a small universe of keys: whatever was committed and folded, and however
 * often it was closed, what is loaded is what the model says. Then its refusals, and the bytes it keeps.
 */
#include "kv/journal.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <lmdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "core/error.h"
#include "kv/batch.h"
#include "kv/medium.h"
#include "kv/record.h"
#include "kv/spool.h"

#define UNIVERSE 3000
#define KEY_SIZE 12

static char directory[] = "/tmp/echod-journal-XXXXXX";
static char storage[64], data_file[80];

static unsigned versions[UNIVERSE]; /* what the model says; 0 = not there */

/* What happens in the process that checks a store, right before it does; nobody else calls alarm(). */
static void (*in_the_check)(void);

unsigned alarm(unsigned seconds)
{
	(void)seconds;
	if (in_the_check != NULL)
		in_the_check();
	return 0;
}

static void make_directory(void)
{
	strcpy(directory + strlen(directory) - 6, "XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(directory));
	snprintf(storage, sizeof(storage), "%s/kv", directory);
	snprintf(data_file, sizeof(data_file), "%s/data.mdb", storage);
	memset(versions, 0, sizeof(versions));
}

static void remove_directory(void)
{
	static const char *const files[] = { "data.mdb", "lock.mdb", "echod.lock", "spool.0",
		"spool.1" };
	char path[96];

	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", storage, files[i]);
		unlink(path);
	}
	rmdir(storage);
	rmdir(directory);
}

static struct journal *open_journal(void)
{
	struct error error;
	struct journal *journal = journal_open(storage, &error);

	ck_assert_msg(journal != NULL, "%s", error.text);
	return journal;
}

static int commit(struct journal *journal, const struct batch *batch)
{
	struct medium *medium = journal_medium(journal);

	return medium->ops->commit(medium, batch);
}

static int recover(struct journal *journal)
{
	struct medium *medium = journal_medium(journal);

	return medium->ops->recover(medium);
}

static int fold(struct journal *journal)
{
	struct medium *medium = journal_medium(journal);

	return medium->ops->fold(medium);
}

static uint64_t log_bytes(struct journal *journal)
{
	struct medium *medium = journal_medium(journal);

	return medium->ops->backlog(medium);
}

/* --- the model --- */

/* The value of a version; some are long enough for pages of their own. */
static size_t value_of(unsigned number, unsigned version, char *value)
{
	size_t length = version % 97 == 0 ? 20000 : version % 50;

	memset(value, 'a' + (int)(version % 26), length);
	snprintf(value, 40, "%u.%u", number, version);
	return length > 40 ? length : strlen(value);
}

static void change_one(struct batch *batch, unsigned number, unsigned version)
{
	static char value[20000];
	char key[KEY_SIZE];
	struct change change = { .key = key, .value = value };

	change.key_length = (size_t)snprintf(key, sizeof(key), "k%u", number);
	change.deletion = version == 0;
	if (version != 0)
		change.value_length = value_of(number, version, value);
	ck_assert_int_eq(batch_add(batch, &change), 0);
	versions[number] = version;
}

static void commit_some(struct journal *journal, unsigned count)
{
	struct batch *batch = batch_new(1);

	for (unsigned i = 0; i < count; i++)
		change_one(batch, (unsigned)rand() % UNIVERSE,
		    rand() % 4 == 0 ? 0 : 1 + (unsigned)rand() % 10000);
	ck_assert_msg(commit(journal, batch) == 0, "%s", journal_medium(journal)->failure);
	batch_free(batch);
}

/* The number behind that byte; the bytes have no end that strtoul() would see. */
static unsigned number_behind(char byte, const void *bytes, size_t length)
{
	char text[KEY_SIZE + 40] = "";
	const char *found;

	memcpy(text, bytes, length < sizeof(text) - 1 ? length : sizeof(text) - 1);
	found = strchr(text, byte);
	ck_assert_ptr_nonnull(found);
	return (unsigned)strtoul(found + 1, NULL, 10);
}

struct loaded {
	unsigned versions[UNIVERSE];
};

static int load_some(void *arg, const struct change *changes, size_t count)
{
	static char value[20000];
	struct loaded *loaded = arg;

	for (size_t i = 0; i < count; i++) {
		const struct change *change = &changes[i];
		unsigned number = number_behind('k', change->key, change->key_length);
		unsigned version = 0;

		ck_assert_uint_lt(number, UNIVERSE);
		if (!change->deletion) {
			version = number_behind('.', change->value, change->value_length);
			ck_assert_uint_eq(change->value_length, value_of(number, version, value));
			ck_assert_mem_eq(change->value, value, change->value_length);
		}
		loaded->versions[number] = version;
	}
	return 0;
}

/* Opens it anew, and compares. */
static struct journal *reopen(struct journal *journal)
{
	static struct loaded loaded;
	struct error error;

	journal_close(journal);
	journal = open_journal();
	memset(&loaded, 0, sizeof(loaded));
	ck_assert_msg(journal_load(journal, load_some, &loaded, &error) == 0, "%s", error.text);
	for (unsigned i = 0; i < UNIVERSE; i++)
		ck_assert_uint_eq(loaded.versions[i], versions[i]);
	return journal;
}

/* --- tests --- */

START_TEST(what_was_committed_is_loaded)
{
	unsigned seed = (unsigned)time(NULL);
	struct journal *journal = open_journal();

	printf("# seed %u\n", seed);
	srand(seed);
	for (int round = 0; round < 6; round++) {
		for (int i = 0; i < 12; i++) {
			commit_some(journal, 1 + (unsigned)rand() % 300);
			if (rand() % 2 == 0)
				ck_assert_int_eq(fold(journal), 0);
		}
		journal = reopen(journal);
	}
	journal_close(journal);
}
END_TEST

START_TEST(a_fold_ends_with_an_empty_log)
{
	struct journal *journal = open_journal();

	for (int i = 0; i < 50; i++)
		commit_some(journal, 100);
	ck_assert_uint_gt(log_bytes(journal), 50 * 100);
	for (int i = 0; i < 10000 && log_bytes(journal) > 0; i++)
		ck_assert_int_eq(fold(journal), 0);
	ck_assert_uint_eq(log_bytes(journal), 0);
	journal = reopen(journal);
	ck_assert_uint_eq(log_bytes(journal), 0);
	journal_close(journal);
}
END_TEST

/* So much is folded in several runs at a time; wherever it is cut short, nothing is lost or old. */
START_TEST(many_changes_of_the_same_keys_are_folded)
{
	struct journal *journal = open_journal();

	for (int i = 0; i < 100; i++)
		commit_some(journal, 400);
	for (int steps = 3; log_bytes(journal) > 0 && steps < 1000; steps++) {
		for (int i = 0; i < steps && log_bytes(journal) > 0; i++)
			ck_assert_int_eq(fold(journal), 0);
		if (steps < 12 || log_bytes(journal) == 0)
			journal = reopen(journal);
	}
	ck_assert_uint_eq(log_bytes(journal), 0);
	journal_close(journal);
}
END_TEST

/* Files may not grow any more: a commit fails, nothing of it is found later, and the next one works. */
START_TEST(a_failed_commit_leaves_nothing)
{
	struct rlimit before, none;
	struct journal *journal = open_journal();
	struct batch *batch = batch_new(1);
	unsigned kept[UNIVERSE];
	struct stat file;

	commit_some(journal, 500);
	memcpy(kept, versions, sizeof(kept));
	for (unsigned i = 0; i < 200; i++)
		change_one(batch, i, 97 * (i + 1)); /* long values */
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &before);
	ck_assert_int_eq(stat(data_file, &file), 0);
	none = (struct rlimit){ (rlim_t)file.st_size, before.rlim_max };
	setrlimit(RLIMIT_FSIZE, &none);
	ck_assert_int_eq(commit(journal, batch), -1);
	ck_assert_str_ne(journal_medium(journal)->failure, "");
	setrlimit(RLIMIT_FSIZE, &before);
	ck_assert_msg(recover(journal) == 0, "%s", journal_medium(journal)->failure);
	memcpy(versions, kept, sizeof(kept));
	commit_some(journal, 500);
	journal = reopen(journal);
	journal_close(journal);
	batch_free(batch);
}
END_TEST

START_TEST(one_at_a_time)
{
	struct journal *journal = open_journal();
	struct error error;
	char owner[32];

	ck_assert_ptr_null(journal_open(storage, &error));
	ck_assert_ptr_nonnull(strstr(error.text, storage));
	snprintf(owner, sizeof(owner), "process %ld", (long)getpid());
	ck_assert_ptr_nonnull(strstr(error.text, owner));
	journal_close(journal);
}
END_TEST

static void expect_refusal(const char *reason)
{
	struct error error;

	ck_assert_ptr_null(journal_open(storage, &error));
	ck_assert_msg(strstr(error.text, storage) != NULL && strstr(error.text, reason) != NULL,
	    "%s", error.text);
}

/* Commits to an environment that is not, or no longer, ours. */
static void write_meta(const char *key, const char *value)
{
	MDB_val key_val = { strlen(key), strdup(key) },
		value_val = { strlen(value), strdup(value) };
	MDB_env *env;
	MDB_txn *txn;
	MDB_dbi table;

	mkdir(storage, 0700);
	ck_assert_int_eq(mdb_env_create(&env), 0);
	ck_assert_int_eq(mdb_env_set_maxdbs(env, 1), 0);
	ck_assert_int_eq(mdb_env_open(env, storage, 0, 0600), 0);
	ck_assert_int_eq(mdb_txn_begin(env, NULL, 0, &txn), 0);
	ck_assert_int_eq(mdb_dbi_open(txn, "meta", MDB_CREATE, &table), 0);
	ck_assert_int_eq(mdb_put(txn, table, &key_val, &value_val, 0), 0);
	ck_assert_int_eq(mdb_txn_commit(txn), 0);
	mdb_env_close(env);
	free(key_val.mv_data);
	free(value_val.mv_data);
}

START_TEST(refuses_what_is_not_its_own)
{
	write_meta("some", "thing");
	expect_refusal("no store of echod");
}
END_TEST

START_TEST(names_another_format)
{
	journal_close(open_journal());
	write_meta("format", "echod-kv 9");
	expect_refusal("\"echod-kv 9\"");
}
END_TEST

START_TEST(refuses_garbage)
{
	FILE *file;

	mkdir(storage, 0700);
	file = fopen(data_file, "w");
	ck_assert_ptr_nonnull(file);
	for (int i = 0; i < 20000; i++)
		fputc(rand() & 0xff, file);
	fclose(file);
	expect_refusal(storage);
}
END_TEST

START_TEST(refuses_what_is_cut_short)
{
	struct journal *journal = open_journal();
	struct stat file;

	commit_some(journal, 3000);
	journal_close(journal);
	ck_assert_int_eq(stat(data_file, &file), 0);
	for (off_t left = file.st_size - 4096; left > 0; left -= file.st_size / 8) {
		ck_assert_int_eq(truncate(data_file, left), 0);
		expect_refusal(storage);
	}
	unlink(data_file);
	expect_refusal("missing");
}
END_TEST

/* The page of the last commit, made to look old: LMDB would go back behind it without a word. */
START_TEST(refuses_to_forget_a_commit)
{
	struct journal *journal = open_journal();
	/* Where LMDB keeps it, and its size, depend on the machine's pointers. */
	const off_t number_at = sizeof(size_t) == 8 ? 144 : 88;
	size_t numbers[2], wrong;
	int file;

	commit_some(journal, 10);
	journal_close(journal);
	file = open(data_file, O_RDWR);
	for (int page = 0; page < 2; page++) {
		off_t at = page * sysconf(_SC_PAGESIZE) + number_at;

		ck_assert_int_eq(pread(file, &numbers[page], sizeof(wrong), at), sizeof(wrong));
		wrong = numbers[page] ^ 4;
		ck_assert_int_eq(pwrite(file, &wrong, sizeof(wrong), at), sizeof(wrong));
		expect_refusal("do not match");
		ck_assert_int_eq(pwrite(file, &numbers[page], sizeof(wrong), at), sizeof(wrong));
	}
	close(file);
	journal_close(open_journal());
}
END_TEST

/* The check died of it, from outside or because of what it has read. */
static void die_of(int number)
{
	struct sigaction action = { .sa_handler = SIG_DFL };

	sigaction(number, &action, NULL);
	raise(number);
}

static int deadly;

static void die(void)
{
	die_of(deadly);
}

static void run_out_of_descriptors(void)
{
	setrlimit(RLIMIT_NOFILE, &(struct rlimit){ 4, 4 });
}

static void expect_another_reason(void (*trouble)(void), const char *reason)
{
	struct error error;

	in_the_check = trouble;
	ck_assert_ptr_null(journal_open(storage, &error));
	in_the_check = NULL;
	ck_assert_msg(strstr(error.text, reason) != NULL, "%s", error.text);
	ck_assert_msg(strstr(error.text, "damaged") == NULL && strstr(error.text, "move") == NULL,
	    "%s", error.text);
}

START_TEST(what_hinders_the_check_is_no_damage)
{
	static const int signals[] = { SIGKILL, SIGTERM, SIGXCPU, SIGALRM };

	journal_close(open_journal());
	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++) {
		deadly = signals[i];
		expect_another_reason(
		    die, deadly == SIGALRM ? "took more than" : strsignal(deadly));
	}
	expect_another_reason(run_out_of_descriptors, strerror(EMFILE));
	deadly = SIGBUS;
	in_the_check = die;
	expect_refusal("it is damaged: its check died of signal");
	in_the_check = NULL;
	journal_close(open_journal());
}
END_TEST

START_TEST(a_file_of_somebody_else_is_no_damage)
{
	static const char *const files[] = { "spool.0", "data.mdb" };
	struct journal *journal;
	struct medium *spool;
	struct error error;
	char path[96];

	if (getuid() != 0)
		return; /* cannot be somebody else */
	ck_assert_int_eq(chown(directory, 65534, 65534), 0);
	ck_assert_int_eq(setegid(65534), 0);
	ck_assert_int_eq(seteuid(65534), 0);
	journal = open_journal();
	spool = &journal_spool(journal, &error)->medium;
	spool->ops->close(spool);
	journal_close(journal);
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		ck_assert_int_eq(seteuid(0), 0);
		snprintf(path, sizeof(path), "%s/%s", storage, files[i]);
		ck_assert_int_eq(chown(path, 0, 0), 0);
		ck_assert_int_eq(seteuid(65534), 0);
		snprintf(path, sizeof(path), "%s: %s", files[i], strerror(EACCES));
		expect_another_reason(NULL, path);
	}
	ck_assert_int_eq(seteuid(0), 0);
}
END_TEST

START_TEST(the_verdict_needs_no_status)
{
	signal(SIGCHLD, SIG_IGN);
	journal_close(open_journal());
	journal_close(open_journal());
	ck_assert_int_eq(truncate(data_file, 8192), 0);
	expect_refusal("it is damaged");
}
END_TEST

/* The process that opens the store is killed: its check, which lives on here, does not hold the lock. */
static pid_t *orphan;

static void outlive_the_parent(void)
{
	prctl(PR_SET_PDEATHSIG, 0);
	*orphan = getpid();
	for (;;)
		pause();
}

START_TEST(a_check_does_not_inherit_the_lock)
{
	struct error error;
	pid_t opener;

	journal_close(open_journal());
	orphan =
	    mmap(NULL, sizeof(*orphan), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(orphan, MAP_FAILED);
	in_the_check = outlive_the_parent;
	if ((opener = fork()) == 0) {
		journal_open(storage, &error);
		_exit(1);
	}
	in_the_check = NULL;
	while (*(volatile pid_t *)orphan == 0)
		usleep(1000);
	kill(opener, SIGKILL);
	waitpid(opener, NULL, 0);
	journal_close(open_journal());
	ck_assert_int_eq(kill(*orphan, SIGKILL), 0);
	munmap(orphan, sizeof(*orphan));
}
END_TEST

START_TEST(a_record_shows_its_damage)
{
	static const struct change changes[] = {
		{ "key", "value", 3, 5, false },
		{ "gone", NULL, 4, 0, true },
		{ "empty", "", 5, 0, false },
	};
	unsigned char record[128] = { 0 };
	size_t length = RECORD_HEADER;

	for (int i = 0; i < 3; i++) {
		change_write(&changes[i], record + length);
		length += change_size(&changes[i]);
	}
	record_add_checksum(record, length);
	ck_assert(record_is_valid(record, length));
	for (size_t i = 0; i < 8 * length; i++) {
		record[i / 8] ^= (unsigned char)(1 << i % 8);
		ck_assert(!record_is_valid(record, length));
		record[i / 8] ^= (unsigned char)(1 << i % 8);
	}
	for (size_t cut = 0; cut < length; cut++)
		ck_assert(!record_is_valid(record, cut));
}
END_TEST

START_TEST(a_change_is_not_read_beyond_its_end)
{
	const struct change change = { "key", "value", 3, 5, false };
	unsigned char bytes[32];
	size_t length = change_size(&change);
	struct change found;

	change_write(&change, bytes);
	for (size_t cut = 0; cut <= length; cut++) {
		unsigned char *copy = malloc(cut == 0 ? 1 : cut); /* a sanitizer sees its end */
		const unsigned char *at = copy;

		memcpy(copy, bytes, cut);
		ck_assert_int_eq(change_read(&found, &at, copy + cut), cut == 0       ? 0
								       : cut < length ? -1
										      : 1);
		free(copy);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("journal");
	TCase *journal = tcase_create("journal"), *record = tcase_create("record");
	SRunner *runner;
	int failed;

	tcase_add_checked_fixture(journal, make_directory, remove_directory);
	tcase_add_test(journal, what_was_committed_is_loaded);
	tcase_add_test(journal, a_fold_ends_with_an_empty_log);
	tcase_add_test(journal, many_changes_of_the_same_keys_are_folded);
	tcase_add_test(journal, a_failed_commit_leaves_nothing);
	tcase_add_test(journal, one_at_a_time);
	tcase_add_test(journal, refuses_what_is_not_its_own);
	tcase_add_test(journal, names_another_format);
	tcase_add_test(journal, refuses_garbage);
	tcase_add_test(journal, refuses_what_is_cut_short);
	tcase_add_test(journal, refuses_to_forget_a_commit);
	tcase_add_test(journal, what_hinders_the_check_is_no_damage);
	tcase_add_test(journal, a_file_of_somebody_else_is_no_damage);
	tcase_add_test(journal, the_verdict_needs_no_status);
	tcase_add_test(journal, a_check_does_not_inherit_the_lock);
	suite_add_tcase(suite, journal);
	tcase_add_test(record, a_record_shows_its_damage);
	tcase_add_test(record, a_change_is_not_read_beyond_its_end);
	suite_add_tcase(suite, record);
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
