/*
 * Opening a store: its directory is this process's alone, what is in it is sound, and the spool is taken in.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "core/error.h"
#include "core/log.h"
#include "core/trust.h"
#include "kv/journal.h"
#include "kv/journal_parts.h"

#define LOCK_FILE "echod.lock"

/* --- the directory --- */

static int refuse_locked(int fd, const char *directory, struct error *error)
{
	char owner[32] = "";
	ssize_t n = pread(fd, owner, sizeof(owner) - 1, 0);

	owner[n > 0 ? strcspn(owner, "\n") : 0] = '\0';
	return error_set(error, "storage %s is in use by another echod%s%s", directory,
	    *owner == '\0' ? "" : ", process ", owner);
}

/*
 * Returns a descriptor that holds the lock, or -1 with the error. Root refuses a directory in which other users could
 * replace the files by links.
 */
static int lock_directory(const char *directory, struct error *error)
{
	char path[4096];
	int fd;

	if (mkdir(directory, 0700) == -1 && errno != EEXIST)
		return error_errno(error, "cannot create storage %s", directory);
	if (geteuid() == 0 && trust_check(directory, error) == -1)
		return error_prefix(error, "cannot use storage %s: ", directory);
	snprintf(path, sizeof(path), "%s/" LOCK_FILE, directory);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd == -1)
		return error_errno(error, "cannot open %s", path);
	if (flock(fd, LOCK_EX | LOCK_NB) == -1) {
		refuse_locked(fd, directory, error);
		close(fd);
		return -1;
	}
	return fd;
}

/* For the message of who comes too late; and from now on a store without its data has lost it. */
static void sign_lock(int fd)
{
	char owner[32];
	int length = snprintf(owner, sizeof(owner), "%ld\n", (long)getpid());

	if (pwrite(fd, owner, (size_t)length, 0) != length || ftruncate(fd, length) == -1)
		log_debug("kv: cannot write " LOCK_FILE ": %s", strerror(errno));
}

static bool has_been_signed(int fd)
{
	struct stat file;

	return fstat(fd, &file) == 0 && file.st_size > 0;
}

/* --- beginning and end --- */

static struct journal *journal_new(const char *directory)
{
	struct journal *journal = calloc(1, sizeof(*journal));

	if (journal == NULL)
		return NULL;
	journal->medium.ops = &journal_ops;
	journal->lock_fd = -1;
	journal->directory = strdup(directory);
	if (journal->directory != NULL)
		return journal;
	free(journal);
	return NULL;
}

/* What was checked, or a new store. 0, or -1 with the failure noted. */
static int open_checked(struct journal *journal)
{
	int code = journal_make(journal->directory);

	if (code == 0)
		code = journal_open_env(journal, 0);
	if (code != 0)
		return journal_fail(journal, NULL, code);
	mdb_reader_check(journal->env, NULL); /* forgets readers that died */
	return journal_take_in(journal);
}

struct journal *journal_open(const char *directory, struct error *error)
{
	struct journal *journal = journal_new(directory);

	if (journal == NULL) {
		error_memory(error);
		return NULL;
	}
	journal->lock_fd = lock_directory(directory, error);
	if (journal->lock_fd == -1 ||
	    journal_check(directory, has_been_signed(journal->lock_fd), error) == -1) {
		journal_close(journal);
		return NULL;
	}
	if (open_checked(journal) == -1) {
		error_set(error, "cannot open storage %s: %s", directory, journal->medium.failure);
		journal_close(journal);
		return NULL;
	}
	sign_lock(journal->lock_fd);
	return journal;
}

void journal_close(struct journal *journal)
{
	if (journal == NULL)
		return;
	fold_abandon(journal);
	journal_close_env(journal);
	if (journal->lock_fd != -1)
		close(journal->lock_fd);
	free(journal->directory);
	free(journal);
}
