/*
 * Simulates ways to choose what a cache evicts, with the traces that are played to real ones, and runs echod's table with
 * them as well. All have room for the same number of keys, a tenth and a half of all.
 */
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kv/table.h"
#include "trace.h"

#define KEYS 200000
#define REQUESTS 4000000
#define NONE UINT32_MAX

/* A list through `nodes`, the newest first. */
struct list {
	uint32_t newest, oldest, count;
};

enum state { ABSENT, CACHED, NEWCOMER, GHOST };

struct node {
	uint32_t newer, older;
	uint8_t state, uses;
};

static uint32_t trace[REQUESTS];
static struct node *nodes; /* by key */
static uint32_t node_count;

__attribute__((noreturn)) static void fail(const char *what)
{
	fprintf(stderr, "policies: %s\n", what);
	exit(1);
}

static void list_push(struct list *list, uint32_t key)
{
	nodes[key].newer = NONE;
	nodes[key].older = list->newest;
	if (list->count++ == 0)
		list->oldest = key;
	else
		nodes[list->newest].newer = key;
	list->newest = key;
}

static void list_remove(struct list *list, uint32_t key)
{
	const struct node *node = &nodes[key];

	if (node->newer != NONE)
		nodes[node->newer].older = node->older;
	else
		list->newest = node->older;
	if (node->older != NONE)
		nodes[node->older].newer = node->newer;
	else
		list->oldest = node->newer;
	list->count--;
}

static uint32_t list_pop(struct list *list)
{
	uint32_t key = list->oldest;

	list_remove(list, key);
	return key;
}

#define EMPTY_LIST                             \
	(struct list)                          \
	{                                      \
		.newest = NONE, .oldest = NONE \
	}

static unsigned long run_lru(uint32_t size)
{
	struct list all = EMPTY_LIST;
	unsigned long hits = 0;

	for (uint32_t i = 0; i < REQUESTS; i++) {
		uint32_t key = trace[i];

		if (nodes[key].state == CACHED) {
			hits++;
			list_remove(&all, key);
		} else if (all.count == size) {
			nodes[list_pop(&all)].state = ABSENT;
		}
		nodes[key].state = CACHED;
		list_push(&all, key);
	}
	return hits;
}

/* Zhang et al. 2024 */
static unsigned long run_sieve(uint32_t size)
{
	struct list all = EMPTY_LIST;
	uint32_t hand = NONE;
	unsigned long hits = 0;

	for (uint32_t i = 0; i < REQUESTS; i++) {
		uint32_t key = trace[i];

		if (nodes[key].state == CACHED) {
			hits++;
			nodes[key].uses = 1;
			continue;
		}
		if (all.count == size) {
			uint32_t victim = hand == NONE ? all.oldest : hand;

			for (; nodes[victim].uses > 0; victim = nodes[victim].newer == NONE
								    ? all.oldest
								    : nodes[victim].newer)
				nodes[victim].uses = 0;
			hand = nodes[victim].newer;
			list_remove(&all, victim);
			nodes[victim].state = ABSENT;
		}
		nodes[key] = (struct node){ .state = CACHED };
		list_push(&all, key);
	}
	return hits;
}

struct s3_fifo {
	uint32_t size;
	struct list newcomers, others, ghosts;
};

static void s3_fifo_evict(struct s3_fifo *cache)
{
	while (cache->newcomers.count >= cache->size / 10) {
		uint32_t key = list_pop(&cache->newcomers);

		if (nodes[key].uses > 1) {
			nodes[key] = (struct node){ .state = CACHED };
			list_push(&cache->others, key);
			continue;
		}
		nodes[key].state = GHOST;
		list_push(&cache->ghosts, key);
		if (cache->ghosts.count > cache->size)
			nodes[list_pop(&cache->ghosts)].state = ABSENT;
		return;
	}
	for (;;) {
		uint32_t key = list_pop(&cache->others);

		if (nodes[key].uses == 0) {
			nodes[key].state = ABSENT;
			return;
		}
		nodes[key].uses--;
		list_push(&cache->others, key);
	}
}

/* Yang et al. 2023, with ghosts for as many keys as fit */
static unsigned long run_s3_fifo(uint32_t size)
{
	struct s3_fifo cache = { size, EMPTY_LIST, EMPTY_LIST, EMPTY_LIST };
	unsigned long hits = 0;

	for (uint32_t i = 0; i < REQUESTS; i++) {
		uint32_t key = trace[i];
		bool was_ghost;

		if (nodes[key].state == CACHED || nodes[key].state == NEWCOMER) {
			hits++;
			nodes[key].uses += nodes[key].uses < 3;
			continue;
		}
		if (cache.newcomers.count + cache.others.count == size)
			s3_fifo_evict(&cache);
		was_ghost = nodes[key].state == GHOST;
		if (was_ghost)
			list_remove(&cache.ghosts, key);
		nodes[key] = (struct node){ .state = was_ghost ? CACHED : NEWCOMER };
		list_push(was_ghost ? &cache.others : &cache.newcomers, key);
	}
	return hits;
}

static struct table_key table_key_of(const struct table *table, char bytes[16], uint32_t number)
{
	struct table_key key = { bytes, (size_t)snprintf(bytes, 16, "key:%010u", number), 0 };

	table_hash_and_prefetch(table, &key);
	return key;
}

/* What so many keys take. */
static size_t memory_of(uint32_t count, const struct item *item)
{
	struct table *table = table_new(0);
	struct table_stats stats;
	char bytes[16];

	if (table == NULL)
		fail("no memory");
	for (uint32_t number = 0; number < count; number++) {
		struct table_key key = table_key_of(table, bytes, number);

		if (table_set(table, &key, item) == -1)
			fail("no memory");
	}
	table_stats(table, &stats);
	table_free(table);
	return stats.memory;
}

static unsigned long run_table(uint32_t size)
{
	const struct item item = { .value = { "0123456789012345678901234567890123456789", 40 } };
	struct table *table = table_new(memory_of(size, &item));
	unsigned long hits = 0;
	char bytes[16];

	if (table == NULL)
		fail("no memory");
	table_set_eviction(table, true);
	for (uint32_t i = 0; i < REQUESTS; i++) {
		struct table_key key = table_key_of(table, bytes, trace[i]), victim;
		struct item found;

		if (table_get(table, &key, &found) == 0) {
			hits++;
			continue;
		}
		while (table_set(table, &key, &item) == -1) {
			if (errno != ENOSPC || table_victim(table, &victim) == -1)
				fail("no memory");
			table_delete(table, &victim);
		}
	}
	table_free(table);
	return hits;
}

static const struct policy {
	const char *name;
	unsigned long (*run)(uint32_t size); /* the hits */
} policies[] = {
	{ "LRU", run_lru },
	{ "SIEVE", run_sieve },
	{ "S3-FIFO", run_s3_fifo },
	{ "echod", run_table },
};
#define POLICIES (sizeof(policies) / sizeof(*policies))

static void make_trace(const char *name)
{
	struct trace source;

	if (trace_init(&source, name, KEYS) == -1)
		fail("no memory");
	node_count = 0;
	for (uint32_t i = 0; i < REQUESTS; i++) {
		trace[i] = trace_next(&source);
		if (trace[i] >= node_count)
			node_count = trace[i] + 1;
	}
	trace_clear(&source);
	free(nodes);
	nodes = malloc(node_count * sizeof(*nodes));
	if (nodes == NULL)
		fail("no memory");
}

int main(void)
{
	const uint32_t sizes[] = { KEYS / 10, KEYS / 2 };

	printf("%-10s %7s", "hits in %", "room");
	for (size_t n = 0; n < POLICIES; n++)
		printf(" %8s", policies[n].name);
	for (unsigned t = 0; trace_name(t) != NULL && strcmp(trace_name(t), "once") != 0; t++) {
		make_trace(trace_name(t));
		for (size_t s = 0; s < 2; s++) {
			printf("\n%-10s %7u", trace_name(t), sizes[s]);
			for (size_t n = 0; n < POLICIES; n++) {
				memset(nodes, 0, node_count * sizeof(*nodes));
				printf(
				    " %8.2f", 100.0 * (double)policies[n].run(sizes[s]) / REQUESTS);
				fflush(stdout);
			}
		}
	}
	printf("\n");
	free(nodes);
	return 0;
}
