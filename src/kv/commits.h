/*
 * The commits of a store: gives the batches of its keyspace to the disk, one after the other, and reports to the host
 * which of them are durable or have failed. While one batch is being committed, the next one fills.
 */
#ifndef ECHOD_KV_COMMITS_H
#define ECHOD_KV_COMMITS_H

#include <stdint.h>

struct commits;
struct engine_host;
struct engine_settings;
struct engine_stats;
struct error;
struct keyspace;

/*
 * Loads the directory into the keyspace's table, and starts what makes changes of the keyspace durable there; the
 * keyspace must live longer. The host is first called by commits_schedule(). NULL with the error.
 */
struct commits *commits_open(const struct engine_settings *settings, struct keyspace *keyspace,
    const struct engine_host *host, struct error *error);

/* A descriptor that is readable when there is work. */
int commits_fd(const struct commits *commits);

/*
 * After a change of the keyspace: has its open batch committed in time. Returns the commit that the reply has to wait
 * for because the disk does not keep up, whatever the settings say; 0 = none.
 */
uint64_t commits_schedule(struct commits *commits);

/* See engine_ops.work. */
void commits_work(struct commits *commits);

/* Fills in what it knows. */
void commits_stats(const struct commits *commits, struct engine_stats *stats);

/* Commits what is left, and calls nobody back. NULL is fine. */
void commits_free(struct commits *commits);

#endif
