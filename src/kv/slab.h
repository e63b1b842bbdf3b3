/*
 * Slabs: memory for many small objects, in cells without headers. The cells of one size are a stack of pages, dense but for
 * the free cells at its top: freeing one moves the last cell of the stack into the hole, and the caller corrects what points to it.
 * So memory returns to malloc(3) page by page, whichever objects are freed. An object over SLAB_CELL_MAX has a chunk of its
 * own. All memory is charged to the budget.
 */
#ifndef ECHOD_KV_SLAB_H
#define ECHOD_KV_SLAB_H

#include <stddef.h>

#include "kv/budget.h"

#define SLAB_GRAIN 8 /* cell sizes are its multiples, addresses too */
#define SLAB_CELL_MAX 1024

struct slab_page;

/* Zeroed = empty. */
struct slabs {
	struct budget budget;
	size_t chunks;                                      /* objects that are no cells */
	struct slab_page *tops[SLAB_CELL_MAX / SLAB_GRAIN]; /* by cell size */
};

/* What an object of that size takes of its cell or chunk: it can grow to it in place. */
size_t slab_usable_size(size_t size);

/*
 * Allocates an object. The caller is about to free another one of `instead_of` bytes (0 = none): if that is no smaller,
 * the limit is no obstacle, and may be exceeded by a page. NULL with errno ENOSPC (past the limit) or ENOMEM.
 */
void *slab_alloc(struct slabs *slabs, size_t size, size_t instead_of);

/* Frees an object of that size. Returns the former address of the object that is now at its place; NULL = none has moved. */
void *slab_free(struct slabs *slabs, void *object, size_t size);

/* Frees all cells; no chunks. */
void slab_clear(struct slabs *slabs);

#endif
