/*
 * What a table has allocated, in the chunks that glibc deals out (a multiple of 16 bytes, with one
 * word of header), and the limit that it keeps to. The caller remembers sizes, as no header has
 * room for them.
 */
#ifndef ECHOD_KV_BUDGET_H
#define ECHOD_KV_BUDGET_H

#include <stddef.h>

struct budget {
	size_t used, limit; /* bytes; limit 0 = none */
};

/* The chunk that a request of that size takes. */
size_t budget_chunk(size_t size);

/*
 * Allocates. Something of `instead_of` bytes (0 = nothing) is about to be freed for it: a
 * replacement that is no larger is never past the limit. What the chunk holds beyond `size` may be
 * used, too. NULL with errno ENOSPC (past the limit) or ENOMEM.
 */
void *budget_alloc(struct budget *budget, size_t size, size_t instead_of);

/* The same, aligned, and not in place of anything. */
void *budget_alloc_aligned(struct budget *budget, size_t alignment, size_t size);

/* realloc(3): `memory` may be NULL, old_size is then 0. When it fails the old one stays. */
void *budget_realloc(struct budget *budget, void *memory, size_t old_size, size_t size);

/* `memory` is not NULL. */
void budget_free(struct budget *budget, void *memory, size_t size);

#endif
