/*
 * LMDB trusts its file, and a damaged one can kill whoever reads it. So a child process reads all of it
 * first, and what is reported through a pipe, or by its death, is why the store is refused.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/notify.h"
#include "kv/journal_parts.h"
#include "kv/spool.h"

#define CHECK_SECONDS 600 /* a tree that leads in circles is no tree */

/* --- in the child --- */

static void report(int fd, const char *what)
{
	if (write(fd, what, strlen(what)) == -1)
		_exit(2);
	_exit(1);
}

static void require(int fd, bool sound, const char *what)
{
	char text[128];

	if (sound)
		return;
	snprintf(text, sizeof(text), "it is damaged: %s", what);
	report(fd, text);
}

/* Keys in ascending order also show that the tree has no loop. */
static size_t check_table(
    int fd, MDB_txn *txn, MDB_dbi table, bool (*is_sound)(const MDB_val *key, const MDB_val *value))
{
	MDB_cursor *cursor;
	MDB_val key, value, before = { 0, NULL };
	MDB_stat stat;
	size_t count = 0;
	int code;

	require(fd, mdb_stat(txn, table, &stat) == 0, "a table is not there");
	require(fd, mdb_cursor_open(txn, table, &cursor) == 0, "a table cannot be read");
	while ((code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
		require(fd, before.mv_data == NULL || mdb_cmp(txn, table, &before, &key) < 0,
		    "keys are not in order");
		require(fd, is_sound(&key, &value), "a checksum is wrong");
		before = key;
		count++;
	}
	require(fd, code == MDB_NOTFOUND && count == stat.ms_entries, "entries are missing");
	mdb_cursor_close(cursor);
	return count;
}

static bool data_is_sound(const MDB_val *key, const MDB_val *value)
{
	struct change change;

	return data_unpack(key, value, &change);
}

static bool log_is_sound(const MDB_val *key, const MDB_val *value)
{
	const unsigned char *at = value->mv_data, *end = at + value->mv_size;
	struct change change;
	int result;

	if (key->mv_size != sizeof(size_t) || !record_is_sound(at, value->mv_size))
		return false;
	at += RECORD_HEADER;
	while ((result = change_read(&change, &at, end)) == 1)
		continue;
	return result == 0;
}

static bool is_anything(const MDB_val *key, const MDB_val *value)
{
	(void)key;
	(void)value;
	return true;
}

/* LMDB's list of free pages: how many, and which, the highest first. */
static size_t last_page;

static bool free_list_is_sound(const MDB_val *key, const MDB_val *value)
{
	const size_t *list = value->mv_data;

	if (key->mv_size != sizeof(size_t) || value->mv_size < sizeof(size_t) ||
	    value->mv_size / sizeof(size_t) <= list[0])
		return false;
	for (size_t i = 1; i <= list[0]; i++)
		if (list[i] < 2 || list[i] > last_page || (i > 1 && list[i] >= list[i - 1]))
			return false;
	return true;
}

/*
 * Pages 0 and 1 are written in turns, by even and by odd transactions: a number that does not fit would have
 * LMDB take the older page for the newer one, and forget what came since.
 */
#define META_VERSION_AT 20
#define META_TRANSACTION_AT 144

static bool read_meta(int data_fd, size_t page, size_t page_size, uint64_t *transaction)
{
	off_t at = (off_t)(page * page_size);
	uint32_t version;

	return pread(data_fd, &version, sizeof(version), at + META_VERSION_AT) == sizeof(version) &&
	       version == 1 &&
	       pread(data_fd, transaction, sizeof(*transaction), at + META_TRANSACTION_AT) ==
		   sizeof(*transaction);
}

static bool metas_are_sound(int data_fd, size_t page_size)
{
	uint64_t even, odd;

	if (!read_meta(data_fd, 0, page_size, &even) || !read_meta(data_fd, 1, page_size, &odd))
		return false;
	return (even == 0 && odd == 0) ||
	       (even % 2 == 0 && odd % 2 == 1 && (even + 1 == odd || odd + 1 == even));
}

static bool is_text(const MDB_val *val, const char *text)
{
	return val->mv_size == strlen(text) && memcmp(val->mv_data, text, val->mv_size) == 0;
}

static void check_format(int fd, MDB_txn *txn, MDB_dbi meta)
{
	MDB_val key = journal_val(JOURNAL_FORMAT_KEY, strlen(JOURNAL_FORMAT_KEY)), format;
	char text[160];

	if (mdb_get(txn, meta, &key, &format) != 0)
		report(fd, "it is no store of echod");
	if (is_text(&format, JOURNAL_FORMAT) || is_text(&format, JOURNAL_FORMAT_BEFORE))
		return;
	snprintf(text, sizeof(text), "its format is \"%.*s\", and this echod reads \"%s\"",
	    (int)(format.mv_size < 40 ? format.mv_size : 40), (const char *)format.mv_data,
	    JOURNAL_FORMAT);
	report(fd, text);
}

/* The numbers of the files' batches follow each other, when both have some. */
static void check_order(int fd, const struct spool_content contents[SPOOL_FILES])
{
	const struct spool_content *a = &contents[0], *b = &contents[1];

	require(fd,
	    a->batch == NULL || b->batch == NULL || a->last + 1 == b->first ||
		b->last + 1 == a->first,
	    "the files of its spool do not match");
}

/* In a store that was copied by LMDB's tools there is no spool. */
static void check_spool(int fd, MDB_txn *txn, MDB_dbi meta, const char *directory, bool used)
{
	struct spool_content contents[SPOOL_FILES] = { 0 };

	for (unsigned i = 0; i < SPOOL_FILES; i++) {
		struct siphash_key key;
		char what[64];
		int code = spool_key_get(txn, meta, i, &key);

		if (code == MDB_NOTFOUND)
			continue;
		snprintf(what, sizeof(what), "its " SPOOL_NAME " is missing or incomplete", i);
		require(fd, code == 0, what);
		code = spool_read_file(directory, i, &key, &contents[i]);
		if (code == ENOENT && !used)
			continue;
		require(fd, code == 0 && !contents[i].damaged, what);
	}
	check_order(fd, contents);
}

/* LMDB goes by the flags that a table was made with. */
static MDB_dbi open_table(int fd, MDB_txn *txn, const char *name, unsigned expected)
{
	unsigned flags;
	MDB_dbi table;

	require(fd,
	    mdb_dbi_open(txn, name, 0, &table) == 0 && mdb_dbi_flags(txn, table, &flags) == 0 &&
		flags == expected,
	    "a table is missing");
	return table;
}

static void check_tables(int fd, MDB_txn *txn, const char *directory, bool used)
{
	MDB_dbi meta, data, log;
	MDB_stat tables;

	require(fd, mdb_stat(txn, 1, &tables) == 0, "it has no main table");
	if (tables.ms_entries == 0)
		return; /* its first start was cut short */
	if (mdb_dbi_open(txn, "meta", 0, &meta) != 0)
		report(fd, "it is no store of echod");
	check_format(fd, txn, meta);
	meta = open_table(fd, txn, "meta", 0);
	data = open_table(fd, txn, "data", 0);
	log = open_table(fd, txn, "log", MDB_INTEGERKEY);
	check_table(fd, txn, 1, is_anything);
	check_table(fd, txn, meta, is_anything);
	check_table(fd, txn, data, data_is_sound);
	check_table(fd, txn, log, log_is_sound);
	check_table(fd, txn, 0, free_list_is_sound);
	check_spool(fd, txn, meta, directory, used);
}

static void check(int fd, const char *directory, bool used)
{
	struct stat file;
	MDB_env *env;
	MDB_envinfo info;
	MDB_stat stat;
	MDB_txn *txn = NULL;
	int code, data_fd;

	if ((code = mdb_env_create(&env)) == 0)
		code = mdb_env_set_maxdbs(env, 3);
	if (code == 0)
		code = mdb_env_open(env, directory, MDB_RDONLY | MDB_NOLOCK, 0);
	if (code == 0)
		code = mdb_txn_begin(env, NULL, MDB_RDONLY, &txn);
	if (code != 0)
		report(fd, mdb_strerror(code));
	require(fd,
	    mdb_env_info(env, &info) == 0 && mdb_env_stat(env, &stat) == 0 &&
		mdb_env_get_fd(env, &data_fd) == 0 && fstat(data_fd, &file) == 0,
	    "it cannot be read");
	last_page = info.me_last_pgno;
	require(fd, (uint64_t)file.st_size / stat.ms_psize > last_page, "its end is missing");
	require(fd, metas_are_sound(data_fd, stat.ms_psize), "its first pages do not match");
	require(fd, journal_pages_are_sound(txn, data_fd, stat.ms_psize, last_page + 1),
	    "a page is not what it should be");
	check_tables(fd, txn, directory, used);
	_exit(0);
}

static void be_the_child(int fd, const char *directory, bool used)
{
	int nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);

	/*
	 * What root still holds is not for a reader of foreign bytes. Whoever is not root has nothing to
	 * drop, and may be forbidden to try (SystemCallFilter of systemd).
	 */
	if (getuid() == 0 && (setresgid(getegid(), getegid(), getegid()) == -1 ||
				 setresuid(geteuid(), geteuid(), geteuid()) == -1))
		report(fd, "cannot drop privileges");
	for (int signal_number = 1; signal_number < NSIG; signal_number++)
		signal(signal_number, SIG_DFL);
	dup2(nowhere, STDERR_FILENO);
	prctl(PR_SET_PDEATHSIG, SIGKILL); /* nobody else would want to know */
	alarm(CHECK_SECONDS);
	check(fd, directory, used);
}

/* --- in the parent --- */

static void wait_for_report(int fd)
{
	struct notify_progress progress = { .what = "Checking a store" };
	struct pollfd pipe_end = { .fd = fd, .events = POLLIN };

	for (uint64_t seconds = 1; poll(&pipe_end, 1, 1000) == 0; seconds++)
		notify_progress(&progress, seconds);
}

static void read_report(int fd, char *text, size_t size)
{
	size_t length = 0;
	ssize_t n;

	wait_for_report(fd);
	while ((n = read(fd, text + length, size - 1 - length)) > 0 || (n == -1 && errno == EINTR))
		length += n > 0 ? (size_t)n : 0;
	text[length] = '\0';
}

/* The child's verdict: 0, or -1 with what it has said or died of. */
static int wait_for_child(pid_t pid, int fd, char *what, size_t size)
{
	int status;

	read_report(fd, what, size);
	while (waitpid(pid, &status, 0) == -1)
		if (errno != EINTR) {
			snprintf(what, size, "cannot wait for its check: %s", strerror(errno));
			return -1;
		}
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	if (WIFSIGNALED(status))
		snprintf(what, size, "it is damaged: its check died of signal %d (%s)",
		    WTERMSIG(status), strsignal(WTERMSIG(status)));
	else if (*what == '\0')
		snprintf(what, size, "it is damaged: its check failed");
	return -1;
}

static int check_in_child(const char *directory, bool used, char *what, size_t size)
{
	int ends[2], result;
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) == -1) {
		snprintf(what, size, "cannot check it: %s", strerror(errno));
		return -1;
	}
	if ((pid = fork()) == 0)
		be_the_child(ends[1], directory, used);
	close(ends[1]);
	if (pid == -1) {
		snprintf(what, size, "cannot check it: %s", strerror(errno));
		result = -1;
	} else {
		result = wait_for_child(pid, ends[0], what, size);
	}
	close(ends[0]);
	return result;
}

static bool is_there(const char *directory)
{
	char path[4096];
	struct stat file;

	snprintf(path, sizeof(path), "%s/data.mdb", directory);
	return stat(path, &file) == 0 && file.st_size > 0;
}

int journal_check(const char *directory, bool used, char *why, size_t why_size)
{
	char what[192] = "its data.mdb is missing or empty";

	if (!is_there(directory) && !used)
		return 0;
	if (is_there(directory) && check_in_child(directory, used, what, sizeof(what)) == 0)
		return 0;
	snprintf(why, why_size,
	    "storage %s: %s; restore a backup, or move the directory away to begin anew", directory,
	    what);
	return -1;
}
