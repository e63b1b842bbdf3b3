/*
 * The commits of a store: gives the batches of its keyspace to the disk, one after the other, and reports to the host
 * which of them are durable or have failed. While one batch is being committed, the next one fills.
 */
#ifndef ECHOD_KV_COMMITS_H
#define ECHOD_KV_COMMITS_H

#include <stdbool.h>
#include <stdint.h>

#include "kv/engine.h"

struct commits;
struct error;
struct keyspace;

/*
 * Takes the directory for this process. The first call of commits_work() starts a thread that loads it; then the
 * keyspace, which must live longer, gets its table, and its changes become durable. NULL with the error.
 */
struct commits *commits_open(const struct engine_settings *settings, struct keyspace *keyspace,
    const struct engine_host *host, struct error *error);

/* See engine_ops.state. */
enum engine_state commits_state(const struct commits *commits, struct error *error);

/* A descriptor that is readable when there is work. */
int commits_fd(const struct commits *commits);

/*
 * After a change of the keyspace: has its open batch committed in time. Returns the commit that the reply has to wait
 * for because the disk does not keep up, whatever the settings say; 0 = none.
 */
uint64_t commits_schedule(struct commits *commits);

/* See engine_ops.work. */
void commits_work(struct commits *commits);

/* See engine_ops.backup. */
int commits_backup(struct commits *commits, const char *directory, struct error *error);

/* Fills in what it knows. */
void commits_stats(const struct commits *commits, struct engine_stats *stats);

/* Commits what is left, without callbacks; see engine_ops.free. NULL is fine. */
int commits_free(struct commits *commits, bool tidies);

#endif
