/* The arithmetic of memory limits. */
#include "kv/budget.h"

#include <errno.h>
#include <stdlib.h>

#define CHUNK_HEADER sizeof(size_t)
#define CHUNK_GRAIN 16
#define CHUNK_MIN 32

size_t budget_chunk(size_t size)
{
	size_t chunk = (size + CHUNK_HEADER + CHUNK_GRAIN - 1) / CHUNK_GRAIN * CHUNK_GRAIN;

	return chunk < CHUNK_MIN ? CHUNK_MIN : chunk;
}

size_t budget_usable_size(size_t size)
{
	return budget_chunk(size) - CHUNK_HEADER;
}

bool budget_exceeded(const struct budget *budget)
{
	if (budget->limit == 0 || budget->used <= budget->limit)
		return false;
	errno = ENOSPC;
	return true;
}

/* Whether the limit allows `more` bytes when `less` are freed. */
static bool admitted(const struct budget *budget, size_t more, size_t less)
{
	if (budget->limit == 0 || more <= less)
		return true;
	if (!budget_exceeded(budget) && more - less <= budget->limit - budget->used)
		return true;
	errno = ENOSPC;
	return false;
}

void *budget_alloc(struct budget *budget, size_t size, size_t credit)
{
	size_t chunk = budget_chunk(size);
	void *memory;

	if (!admitted(budget, chunk, credit))
		return NULL;
	memory = malloc(chunk - CHUNK_HEADER);
	if (memory != NULL)
		budget->used += chunk;
	return memory;
}

void *budget_alloc_aligned(struct budget *budget, size_t alignment, size_t size)
{
	size_t chunk = budget_chunk(size);
	void *memory;

	if (!admitted(budget, chunk, 0))
		return NULL;
	memory = aligned_alloc(alignment, size);
	if (memory != NULL)
		budget->used += chunk;
	return memory;
}

void *budget_realloc(struct budget *budget, void *memory, size_t old_size, size_t size)
{
	size_t chunk = budget_chunk(size), old_chunk = memory == NULL ? 0 : budget_chunk(old_size);

	if (!admitted(budget, chunk, old_chunk))
		return NULL;
	memory = realloc(memory, chunk - CHUNK_HEADER);
	if (memory != NULL)
		budget->used += chunk - old_chunk;
	return memory;
}

void budget_free(struct budget *budget, void *memory, size_t size)
{
	free(memory);
	budget->used -= budget_chunk(size);
}
