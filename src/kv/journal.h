/*
 * The journal: what makes a store durable. A directory with an LMDB environment, which holds a log of
 * records, one or more for each commit, and a table of what the log has been folded into. Not for two
 * threads at once.
 */
#ifndef ECHOD_KV_JOURNAL_H
#define ECHOD_KV_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch;
struct change;
struct journal;

/* A longer key has no place in LMDB. */
#define JOURNAL_KEY_MAX 511

/*
 * Takes the directory, which is made when it is missing, for this process alone, has its content checked
 * by a child process, and opens it. NULL with why.
 */
struct journal *journal_open(const char *directory, char *why, size_t why_size);
/* NULL is fine. */
void journal_close(struct journal *journal);

#define JOURNAL_LOAD_MAX 32

/*
 * Calls the function with each key, then with each change since, some at a time (at most JOURNAL_LOAD_MAX);
 * they are valid during the call. Stops when it returns -1. 0, or -1 with why.
 */
int journal_load(struct journal *journal,
    int (*take)(void *arg, const struct change *changes, size_t count), void *arg, char *why,
    size_t why_size);

/*
 * Makes the batch durable: when it returns 0, the changes outlive a power cut. -1 with
 * journal_failure(): they may have been made or not, until journal_recover() has worked.
 */
int journal_commit(struct journal *journal, const struct batch *batch);

/* After a failure: opens it anew and proves that it can be written; what failed is not in it then. */
int journal_recover(struct journal *journal);

/* Bytes of the log that are still to be folded. */
uint64_t journal_log_bytes(const struct journal *journal);
/* Folds a slice of the log, for some milliseconds. 0, or -1 with journal_failure(). */
int journal_fold(struct journal *journal);

/* Why the last call has failed, for the log of echod. */
const char *journal_failure(const struct journal *journal);

#endif
