/* The engine that forgets: the table, and nothing behind it. It owns the table. */
#include <errno.h>
#include <stdlib.h>

#include "kv/engine.h"
#include "kv/table.h"

struct memory_engine {
	struct engine engine;
	struct table *table;
};

static struct table *table_of(struct engine *engine)
{
	return ((struct memory_engine *)engine)->table;
}

static void memory_prepare(struct engine *engine, struct table_key *keys, size_t count)
{
	table_prepare(table_of(engine), keys, count);
}

static struct engine_answer memory_get(struct engine *engine, const struct table_key *key)
{
	struct engine_answer answer = { .status = ENGINE_OK };

	if (table_get(table_of(engine), key, &answer.value) == -1)
		answer.status = ENGINE_NOT_FOUND;
	return answer;
}

static struct engine_answer memory_set(
    struct engine *engine, const struct table_key *key, const void *value, size_t value_length)
{
	int result = table_set(table_of(engine), key, value, value_length);

	return (struct engine_answer){ .status = result == -1 ? ENGINE_FULL : ENGINE_OK };
}

static struct engine_answer memory_del(struct engine *engine, const struct table_key *key)
{
	int result = table_delete(table_of(engine), key);

	return (struct engine_answer){ .status = result == -1 ? ENGINE_NOT_FOUND : ENGINE_OK };
}

static void memory_work(struct engine *engine)
{
	(void)engine;
}

static void memory_set_max_memory(struct engine *engine, size_t max_memory)
{
	table_set_max_memory(table_of(engine), max_memory);
}

static void memory_stats(struct engine *engine, struct engine_stats *stats)
{
	*stats = (struct engine_stats){ 0 };
	table_stats(table_of(engine), &stats->table);
}

static void memory_free(struct engine *engine)
{
	table_free(table_of(engine));
	free(engine);
}

static const struct engine_ops memory_ops = {
	.prepare = memory_prepare,
	.get = memory_get,
	.set = memory_set,
	.del = memory_del,
	.work = memory_work,
	.set_max_memory = memory_set_max_memory,
	.stats = memory_stats,
	.free = memory_free,
};

struct engine *memory_engine_new(size_t max_memory)
{
	struct memory_engine *memory = malloc(sizeof(*memory));

	if (memory == NULL)
		return NULL;
	memory->engine = (struct engine){ .ops = &memory_ops, .fd = -1 };
	memory->table = table_new(max_memory);
	if (memory->table == NULL) {
		int saved = errno;

		free(memory);
		errno = saved;
		return NULL;
	}
	return &memory->engine;
}
