/*
 * A memory budget: what a table has allocated, counted in glibc's chunks (a multiple of 16 bytes, with a header of one
 * word), and its limit. The caller knows the sizes, for there is no header to store them in.
 */
#ifndef ECHOD_KV_BUDGET_H
#define ECHOD_KV_BUDGET_H

#include <stdbool.h>
#include <stddef.h>

struct budget {
	size_t used, limit; /* bytes; limit 0 = none */
};

/* The chunk that a request of that size takes, and what of it can be used. */
size_t budget_chunk(size_t size);
size_t budget_usable_size(size_t size);

/* Whether more is used than the limit allows: it was lowered, or a credit was not made good yet. Sets errno to ENOSPC then. */
bool budget_exceeded(const struct budget *budget);

/*
 * Allocates. The caller is about to free `credit` bytes, so that a replacement that is no larger never exceeds the limit.
 * All bytes of the chunk may be used. NULL with errno ENOSPC (past the limit) or ENOMEM.
 */
void *budget_alloc(struct budget *budget, size_t size, size_t credit);

/* The same, aligned, and without a credit. */
void *budget_alloc_aligned(struct budget *budget, size_t alignment, size_t size);

/* realloc(3): `memory` may be NULL, old_size is then 0. When it fails the old one stays. */
void *budget_realloc(struct budget *budget, void *memory, size_t old_size, size_t size);

/* `memory` is not NULL. */
void budget_free(struct budget *budget, void *memory, size_t size);

#endif
