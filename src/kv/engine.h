/*
 * An engine: the interface of a store to the kv service. It returns the result of a call at once, but the result may rest
 * on a commit that is not on the disk yet; the service sends it to the client only when the engine reports that commit. An
 * engine has no sockets and no libevent: its host runs its work.
 */
#ifndef ECHOD_KV_ENGINE_H
#define ECHOD_KV_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/slice.h"
#include "kv/table.h"

struct call;
struct engine;
struct error;
struct kv_result;
struct watch;

struct engine_settings {
	const char *name, *directory; /* need not outlive the call; directory "" = memory only */
	bool always;                  /* a reply waits until what it rests on is durable */
	int64_t interval;             /* ms, else; the changes of that time may be lost */
	size_t max_memory;            /* bytes, 0 = no limit */
	bool evicts;                  /* when that is reached: evicts keys, or refuses changes */
	size_t max_value;             /* bytes, of values that commands make */
};

/* The host's functions, which an engine calls. */
struct engine_host {
	/* Has engine_ops.work called: 0 = at the end of this turn of the loop, else in that many ms or before. */
	void (*work_in)(void *arg, int64_t ms);
	/*
	 * This commit and all before it are durable or, if !always, at least kept in memory until the disk takes them.
	 * If !ok, those that were not reported before have failed and are undone.
	 */
	void (*committed)(void *arg, uint64_t commit, bool ok);
	/* A backup has ended: error NULL and the number of keys, or the error. */
	void (*backed_up)(void *arg, const struct error *error, uint64_t keys);
	/* engine_ops.state no longer returns ENGINE_LOADING. Called once, by work(); not if that was so from the start. */
	void (*loaded)(void *arg);
	void *arg;
};

enum engine_state { ENGINE_LOADING, ENGINE_READY, ENGINE_FAILED };

struct engine_stats {
	struct table_stats table;
	uint64_t evictions; /* since the start */
	bool durable, read_only;
	uint64_t loaded;    /* keys so far, while the store is being loaded */
	size_t uncommitted; /* changes on their way to the disk */
	uint64_t commits;   /* since the start */
	uint64_t log_bytes; /* of the WAL that no checkpoint has moved to the snapshot yet */
	uint64_t failures;  /* of the disk, since the start: failed commits and checkpoints */
	char failure[256];  /* the reason of the last one; "" = there was none */
};

struct engine_ops {
	/*
	 * A store is loaded beside the loop, from the first call of work() on; every result is KV_LOADING until it is
	 * ready. ENGINE_FAILED is final, and comes with the error.
	 */
	enum engine_state (*state)(const struct engine *engine, struct error *error);
	/* Hashes the keys and prefetches their entries: for many calls at once, the waits for memory overlap. */
	void (*prepare)(struct engine *engine, struct call *calls, size_t count);
	/* Runs a call that has been prepared, and fills in the result. */
	void (*submit)(struct engine *engine, const struct call *call, struct kv_result *result);
	/*
	 * Between on and off, calls are a transaction: one commit has all of their changes, and no result has
	 * parts: it is whole, or KV_TOO_MANY_KEYS. A call that fails does not undo those before it.
	 */
	void (*transact)(struct engine *engine, bool on);
	/*
	 * Watches a key for a transaction, up to unwatch(): *changes is its count of changes. NULL when out of memory, or
	 * while the store is being loaded.
	 */
	struct watch *(*watch)(struct engine *engine, struct slice key, uint64_t *changes);
	bool (*has_changed)(struct engine *engine, const struct watch *watch, uint64_t changes);
	void (*unwatch)(struct engine *engine, struct watch *watch);
	/* A task: once the loop runs; when work_in() has asked for it; and when the descriptor is readable. */
	void (*work)(void *engine);
	/*
	 * Copies the store, with all changes so far, to another directory, beside the loop; host.backed_up reports the end.
	 * One backup at a time. 0, or -1 with the error.
	 */
	int (*backup)(struct engine *engine, const char *directory, struct error *error);
	/* Takes over what a reload can change: max_memory, evicts, max_value. */
	void (*configure)(struct engine *engine, const struct engine_settings *settings);
	void (*stats)(const struct engine *engine, struct engine_stats *stats);
	/*
	 * Ends the loading, or commits what is left, without callbacks. With `tidies` it may take two more seconds, in
	 * which the log is moved to the snapshot; otherwise other clients wait for the loop. 0, or -1: changes that were
	 * confirmed to clients are lost, which has been logged.
	 */
	int (*free)(struct engine *engine, bool tidies);
};

struct engine {
	const struct engine_ops *ops;
	int fd; /* readable when there is work; -1 = never */
};

#endif
