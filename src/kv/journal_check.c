/*
 * LMDB trusts its file, and a damaged one can crash the process that reads it. So a child process reads all of it
 * first. It reports its verdict through a pipe; a signal such as SIGBUS is a verdict, too. Only wrong bytes are
 * damage: an error that keeps the child from reading them says nothing about the store.
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

#include "core/error.h"
#include "core/notify.h"
#include "kv/journal_parts.h"
#include "kv/spool.h"

#define CHECK_SECONDS 600 /* ends a check that follows a circle of damaged pages */

/* --- in the child --- */

/* The first byte of a report; the rest is a message. */
enum check_result { SOUND = 's', DAMAGED = 'd', UNKNOWN = 'u' };

static void report(int fd, enum check_result verdict, const char *what)
{
	char text[192];
	int length = snprintf(text, sizeof(text), "%c%s", verdict, what);

	if (write(fd, text, strnlen(text, sizeof(text))) == -1 || length < 0)
		_exit(2);
	_exit(verdict == SOUND ? 0 : 1);
}

static void require(int fd, bool sound, const char *what)
{
	char text[160];

	if (sound)
		return;
	snprintf(text, sizeof(text), "it is damaged: %s", what);
	report(fd, DAMAGED, text);
}

static void report_errno(int fd, const char *file, int code)
{
	char text[160];

	snprintf(text, sizeof(text), "cannot read its %s: %s", file, strerror(code));
	report(fd, UNKNOWN, text);
}

/* Like require(), for a result of 0, an errno, which is no damage, or an error code of LMDB, which is. */
static void require_code(int fd, int code, const char *what)
{
	if (code > 0)
		report_errno(fd, "data.mdb", code);
	require(fd, code == 0, what);
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

	require_code(fd, mdb_stat(txn, table, &stat), "a table is missing");
	require_code(fd, mdb_cursor_open(txn, table, &cursor), "a table cannot be read");
	while ((code = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
		require(fd, before.mv_data == NULL || mdb_cmp(txn, table, &before, &key) < 0,
		    "keys are not in order");
		require(fd, is_sound(&key, &value), "a checksum is wrong");
		before = key;
		count++;
	}
	require_code(fd, code == MDB_NOTFOUND ? 0 : code, "entries are missing");
	require(fd, count == stat.ms_entries, "entries are missing");
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

	if (key->mv_size != sizeof(size_t) || !record_is_valid(at, value->mv_size))
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

static bool is_text(const MDB_val *val, const char *text)
{
	return val->mv_size == strlen(text) && memcmp(val->mv_data, text, val->mv_size) == 0;
}

static void check_format(int fd, MDB_txn *txn, MDB_dbi meta)
{
	MDB_val key = journal_val(JOURNAL_FORMAT_KEY, strlen(JOURNAL_FORMAT_KEY)), format;
	char text[160];

	if (mdb_get(txn, meta, &key, &format) != 0)
		report(fd, DAMAGED, "it is no store of echod");
	if (is_text(&format, JOURNAL_FORMAT) || is_text(&format, JOURNAL_FORMAT_BEFORE))
		return;
	snprintf(text, sizeof(text), "its format is \"%.*s\", and this echod reads \"%s\"",
	    (int)(format.mv_size < 40 ? format.mv_size : 40), (const char *)format.mv_data,
	    JOURNAL_FORMAT);
	report(fd, DAMAGED, text);
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
		char name[16], what[64];
		int code = spool_key_get(txn, meta, i, &key);

		if (code == MDB_NOTFOUND)
			continue;
		snprintf(name, sizeof(name), SPOOL_NAME, i);
		snprintf(what, sizeof(what), "its %s is missing or incomplete", name);
		require_code(fd, code, what);
		code = spool_read_file(directory, i, &key, &contents[i]);
		if (code == ENOENT && !used)
			continue;
		require(fd, code != ENOENT, what);
		if (code != 0)
			report_errno(fd, name, code);
		require(fd, !contents[i].damaged, what);
	}
	check_order(fd, contents);
}

/* LMDB goes by the flags that a table was made with. */
static MDB_dbi open_table(int fd, MDB_txn *txn, const char *name, unsigned expected)
{
	unsigned flags = 0;
	MDB_dbi table;

	require_code(fd, mdb_dbi_open(txn, name, 0, &table), "a table is missing");
	require_code(fd, mdb_dbi_flags(txn, table, &flags), "a table is missing");
	require(fd, flags == expected, "a table is missing");
	return table;
}

static void check_tables(int fd, MDB_txn *txn, const char *directory, bool used)
{
	MDB_dbi meta, data, log;
	MDB_stat tables;
	int code;

	require_code(fd, mdb_stat(txn, 1, &tables), "it has no main table");
	if (tables.ms_entries == 0)
		return; /* its first start was cut short */
	code = mdb_dbi_open(txn, "meta", 0, &meta);
	if (code < 0)
		report(fd, DAMAGED, "it is no store of echod");
	require_code(fd, code, "a table is missing");
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

/* Reads the file once with pread(): a failing disk gives an error there, but SIGBUS in a mapped file. */
static int read_all(int data_fd)
{
	static char bytes[1 << 16];
	off_t at = 0;
	ssize_t n;

	while ((n = pread(data_fd, bytes, sizeof(bytes), at)) > 0 || (n == -1 && errno == EINTR))
		at += n > 0 ? n : 0;
	return n == 0 ? 0 : errno;
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
	if (code < 0)
		report(fd, DAMAGED, mdb_strerror(code));
	require_code(fd, code, "it cannot be read");
	require(fd,
	    mdb_env_info(env, &info) == 0 && mdb_env_stat(env, &stat) == 0 &&
		mdb_env_get_fd(env, &data_fd) == 0,
	    "it cannot be read");
	require_code(
	    fd, fstat(data_fd, &file) == -1 ? errno : read_all(data_fd), "it cannot be read");
	last_page = info.me_last_pgno;
	require(fd, (uint64_t)file.st_size / stat.ms_psize > last_page, "its end is missing");
	require_code(
	    fd, journal_metas_check(data_fd, stat.ms_psize), "its first pages do not match");
	require_code(fd, journal_pages_check(txn, data_fd, stat.ms_psize, last_page + 1),
	    "a page is not what it should be");
	check_tables(fd, txn, directory, used);
	report(fd, SOUND, "");
}

static void be_the_child(int fd, const char *directory, bool used)
{
	int nowhere;

	/* If the parent is killed, this child must not keep the lock on the store or a listener open. */
	fd = dup2(fd, STDERR_FILENO + 1);
	closefrom(fd + 1);
	nowhere = open("/dev/null", O_RDWR | O_CLOEXEC);
	/*
	 * What root still holds is not for a reader of foreign bytes. Whoever is not root has nothing to
	 * drop, and may be forbidden to try (SystemCallFilter of systemd).
	 */
	if (getuid() == 0 && (setresgid(getegid(), getegid(), getegid()) == -1 ||
				 setresuid(geteuid(), geteuid(), geteuid()) == -1))
		report(fd, UNKNOWN, "cannot drop privileges for its check");
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

/* Signals that damaged bytes can cause; others come from outside. */
static bool is_of_damage(int number)
{
	return number == SIGSEGV || number == SIGBUS || number == SIGABRT || number == SIGFPE ||
	       number == SIGILL;
}

/* How a child ended that has not reported. */
static enum check_result explain_death(int status, char *what, size_t size)
{
	int number = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	bool damaged = is_of_damage(number);

	if (number == SIGALRM)
		snprintf(what, size, "its check took more than %d s", CHECK_SECONDS);
	else if (number != 0)
		snprintf(what, size, "%sits check died of signal %d (%s)",
		    damaged ? "it is damaged: " : "", number, strsignal(number));
	else
		snprintf(what, size, "its check ended without a report");
	return damaged ? DAMAGED : UNKNOWN;
}

/* There may be a report but no status: if SIGCHLD is ignored, or other code has waited for the child. */
static enum check_result wait_for_child(pid_t pid, int fd, char *what, size_t size)
{
	char text[192];
	int status = 0;

	read_report(fd, text, sizeof(text));
	while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
		continue;
	if (*text == '\0')
		return explain_death(status, what, size);
	snprintf(what, size, "%s", text + 1);
	return (enum check_result) * text;
}

static enum check_result check_in_child(const char *directory, bool used, char *what, size_t size)
{
	enum check_result verdict = UNKNOWN;
	int ends[2];
	pid_t pid;

	if (pipe2(ends, O_CLOEXEC) == -1) {
		snprintf(what, size, "cannot check it: %s", strerror(errno));
		return UNKNOWN;
	}
	if ((pid = fork()) == 0)
		be_the_child(ends[1], directory, used);
	close(ends[1]);
	if (pid == -1)
		snprintf(what, size, "cannot check it: %s", strerror(errno));
	else
		verdict = wait_for_child(pid, ends[0], what, size);
	close(ends[0]);
	return verdict;
}

/* Whether there is a data.mdb; *hidden is the errno if that cannot be found out, else 0. */
static bool is_there(const char *directory, int *hidden)
{
	char path[4096];
	struct stat file;
	int result;

	snprintf(path, sizeof(path), "%s/data.mdb", directory);
	result = stat(path, &file);
	*hidden = result == -1 && errno != ENOENT ? errno : 0;
	return result == 0 && file.st_size > 0;
}

int journal_check(const char *directory, bool used, struct error *error)
{
	char what[192] = "its data.mdb is missing or empty";
	enum check_result verdict = DAMAGED;
	int hidden;

	if (is_there(directory, &hidden)) {
		verdict = check_in_child(directory, used, what, sizeof(what));
	} else if (hidden != 0) {
		snprintf(what, sizeof(what), "cannot check it: %s", strerror(hidden));
		verdict = UNKNOWN;
	} else if (!used) {
		return 0;
	}
	if (verdict == SOUND)
		return 0;
	return error_set(error, "storage %s: %s%s", directory, what,
	    verdict == DAMAGED
		? "; restore a backup, or move the directory away to start with an empty store"
		: "");
}
