/* The state is as global as jansson's own hook. */
#include "core/json_memory.h"

#include <jansson.h>
#include <stdlib.h>

static bool was_short;

static void *allocate(size_t size)
{
	void *memory = malloc(size);

	was_short |= memory == NULL;
	return memory;
}

void json_memory_watch(void)
{
	json_set_alloc_funcs(allocate, free);
}

bool json_memory_was_short(void)
{
	bool result = was_short;

	was_short = false;
	return result;
}
