/*
 * The journal: what makes a store durable. A directory with an LMDB environment, which holds a log of
 * records, one or more for each commit, and a table of what the log has been folded into; and in front of
 * it, if clients wait, a spool. Not for two threads at once.
 */
#ifndef ECHOD_KV_JOURNAL_H
#define ECHOD_KV_JOURNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct batch;
struct change;
struct error;
struct journal;
struct medium;
struct spool;

/* A longer key has no place in LMDB. */
#define JOURNAL_KEY_MAX 511

/*
 * Takes the directory, which is made when it is missing, for this process alone, has its content checked
 * by a child process, opens it, and takes in what a spool has left. NULL with the error.
 */
struct journal *journal_open(const char *directory, struct error *error);
/* NULL is fine. */
void journal_close(struct journal *journal);

#define JOURNAL_LOAD_MAX 32

/*
 * Calls the function with each key, then with each change since, some at a time (at most JOURNAL_LOAD_MAX);
 * they are valid during the call. Stops when it returns -1. 0, or -1 with the error.
 */
int journal_load(struct journal *journal,
    int (*take)(void *arg, const struct change *changes, size_t count), void *arg,
    struct error *error);

/* The spool that belongs to it, empty; the caller's. NULL with the error. */
struct spool *journal_spool(struct journal *journal, struct error *error);

/* What a writer commits to. After a commit that failed its changes may be there or not: only try them again. */
struct medium *journal_medium(struct journal *journal);

#endif
