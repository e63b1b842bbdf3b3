/*
 * What the kv service asks of a store. A verb hands over its request and gets the answer by a call: at
 * once from the table in memory, perhaps later from an engine that has to ask a disk or another machine.
 * An engine answers the requests of one client in their order.
 */
#ifndef ECHOD_KV_ENGINE_H
#define ECHOD_KV_ENGINE_H

#include <stddef.h>

enum engine_status {
	ENGINE_OK,
	ENGINE_NOT_FOUND,
	ENGINE_FULL, /* past its memory */
};

/* The answer to one request; the value (of a get) is valid during the call. */
typedef void engine_answer(
    void *client, enum engine_status status, const void *value, size_t length);

struct engine;
struct table_key;

struct engine_ops {
	/* A hint: requests with these keys come next. */
	void (*expect)(struct engine *engine, const struct table_key *keys, size_t count);
	void (*get)(struct engine *engine, const void *key, size_t key_length,
	    engine_answer *answer, void *client);
	void (*set)(struct engine *engine, const void *key, size_t key_length, const void *value,
	    size_t value_length, engine_answer *answer, void *client);
	void (*del)(struct engine *engine, const void *key, size_t key_length,
	    engine_answer *answer, void *client);
	void (*set_max_memory)(struct engine *engine, size_t max_memory);
	void (*free)(struct engine *engine);
};

struct engine {
	const struct engine_ops *ops;
};

/* The table in memory, of at most max_memory bytes (0 = no limit). NULL with errno. */
struct engine *memory_engine_new(size_t max_memory);

#endif
