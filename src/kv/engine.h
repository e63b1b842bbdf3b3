/*
 * What the kv service asks of a store. No sockets and no libevent: the table in memory answers at once, and
 * another engine may have to ask a disk or another machine.
 */
#ifndef ECHOD_KV_ENGINE_H
#define ECHOD_KV_ENGINE_H

#include <stddef.h>

#include "kv/table.h"

enum engine_status {
	ENGINE_OK,
	ENGINE_NOT_FOUND,
	ENGINE_FULL, /* past its memory; nothing has changed */
};

struct engine_answer {
	enum engine_status status;
	struct table_value value; /* of a get, valid until the next call */
};

struct engine_stats {
	struct table_stats table;
};

struct engine;

struct engine_ops {
	/* Readies keys for the calls below; many at once is what makes them fast. */
	void (*prepare)(struct engine *engine, struct table_key *keys, size_t count);
	struct engine_answer (*get)(struct engine *engine, const struct table_key *key);
	struct engine_answer (*set)(struct engine *engine, const struct table_key *key,
	    const void *value, size_t value_length);
	struct engine_answer (*del)(struct engine *engine, const struct table_key *key);
	void (*set_max_memory)(struct engine *engine, size_t max_memory);
	void (*stats)(struct engine *engine, struct engine_stats *stats);
	void (*free)(struct engine *engine);
};

struct engine {
	const struct engine_ops *ops;
};

/* The table in memory, of at most max_memory bytes (0 = no limit). NULL with errno. */
struct engine *memory_engine_new(size_t max_memory);

#endif
