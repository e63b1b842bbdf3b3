/*
 * What the kv service asks of a store. An engine answers at once, but its answer may rest on a commit that
 * a disk, or one day another machine, has still to make: then nobody is told before the engine says that
 * the commit is settled. No sockets and no libevent: who hosts an engine runs its work.
 */
#ifndef ECHOD_KV_ENGINE_H
#define ECHOD_KV_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kv/table.h"

enum engine_status {
	ENGINE_OK,
	ENGINE_NOT_FOUND,
	ENGINE_FULL,   /* past its memory; nothing has changed */
	ENGINE_FAILED, /* its disk does not take changes; nothing has changed */
};

struct engine_answer {
	enum engine_status status;
	struct table_value value; /* of a get, valid until the next call */
	uint64_t commit;          /* that it rests on; 0 = it is safe */
};

/* What an engine asks of its host. */
struct engine_host {
	/* Call engine_ops.work: 0 = at the end of this turn of the loop, else in that many ms or before. */
	void (*work_in)(void *arg, int64_t ms);
	/*
	 * What rests on this commit or an earlier one is safe or, if !safe, has failed: it is undone, or
	 * nobody knows yet when it will be safe.
	 */
	void (*settled)(void *arg, uint64_t commit, bool safe);
	void *arg;
};

struct engine_stats {
	struct table_stats table;
	bool durable, read_only;
	size_t unsettled;   /* changes on their way to the disk */
	uint64_t commits;   /* since the start */
	uint64_t log_bytes; /* of the journal that are not folded yet */
	uint64_t failures;  /* commits */
	char failure[256];  /* the last one's reason; "" = there was none */
};

struct engine;

struct engine_ops {
	/* Readies keys for the calls below; many at once is what makes them fast. */
	void (*prepare)(struct engine *engine, struct table_key *keys, size_t count);
	struct engine_answer (*get)(struct engine *engine, const struct table_key *key);
	struct engine_answer (*set)(struct engine *engine, const struct table_key *key,
	    const void *value, size_t value_length);
	struct engine_answer (*del)(struct engine *engine, const struct table_key *key);
	/* Once the loop runs; when work_in() has asked for it; and when the descriptor is readable. */
	void (*work)(struct engine *engine);
	void (*set_max_memory)(struct engine *engine, size_t max_memory);
	void (*stats)(struct engine *engine, struct engine_stats *stats);
	/* Commits what is left, and calls nobody back. */
	void (*free)(struct engine *engine);
};

struct engine {
	const struct engine_ops *ops;
	int fd; /* readable when there is work; -1 = never */
};

struct engine_settings {
	const char *name, *directory; /* need not outlive the call */
	bool always;                  /* an answer waits until it is safe */
	int64_t interval;             /* ms, else; that much may be lost */
	size_t max_memory;            /* bytes, 0 = no limit */
};

/* The table with a journal behind it, in a directory. NULL with why. */
struct engine *durable_engine_new(const struct engine_settings *settings,
    const struct engine_host *host, char *why, size_t why_size);

/* The table in memory, of at most max_memory bytes (0 = no limit). NULL with errno. */
struct engine *memory_engine_new(size_t max_memory);

#endif
