/* The arithmetic of memory limits. */
#include "kv/account.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#define CHUNK_HEADER sizeof(size_t)
#define CHUNK_GRAIN 16
#define CHUNK_MIN 32

size_t account_chunk(size_t size)
{
	size_t chunk = (size + CHUNK_HEADER + CHUNK_GRAIN - 1) / CHUNK_GRAIN * CHUNK_GRAIN;

	return chunk < CHUNK_MIN ? CHUNK_MIN : chunk;
}

/* Whether `more` bytes may come while `less` go. */
static bool admitted(const struct account *account, size_t more, size_t less)
{
	if (account->limit == 0 || more <= less)
		return true;
	if (account->used <= account->limit && more - less <= account->limit - account->used)
		return true;
	errno = ENOSPC;
	return false;
}

void *account_alloc(struct account *account, size_t size, size_t instead_of)
{
	size_t chunk = account_chunk(size);
	void *memory;

	if (!admitted(account, chunk, instead_of == 0 ? 0 : account_chunk(instead_of)))
		return NULL;
	memory = malloc(chunk - CHUNK_HEADER);
	if (memory != NULL)
		account->used += chunk;
	return memory;
}

void *account_alloc_aligned(struct account *account, size_t alignment, size_t size)
{
	size_t chunk = account_chunk(size);
	void *memory;

	if (!admitted(account, chunk, 0))
		return NULL;
	memory = aligned_alloc(alignment, size);
	if (memory != NULL)
		account->used += chunk;
	return memory;
}

void *account_realloc(struct account *account, void *memory, size_t old_size, size_t size)
{
	size_t chunk = account_chunk(size),
	       old_chunk = memory == NULL ? 0 : account_chunk(old_size);

	if (!admitted(account, chunk, old_chunk))
		return NULL;
	memory = realloc(memory, chunk - CHUNK_HEADER);
	if (memory != NULL)
		account->used += chunk - old_chunk;
	return memory;
}

void account_free(struct account *account, void *memory, size_t size)
{
	free(memory);
	account->used -= account_chunk(size);
}
