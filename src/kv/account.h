/*
 * What a table has allocated, in the chunks that glibc deals out (a multiple of 16 bytes, with one
 * word of header), and the limit that it keeps to. The caller remembers sizes, as no header has
 * room for them.
 */
#ifndef ECHOD_KV_ACCOUNT_H
#define ECHOD_KV_ACCOUNT_H

#include <stddef.h>

struct account {
	size_t used, limit; /* bytes; limit 0 = none */
};

/* The chunk that a request of that size takes. */
size_t account_chunk(size_t size);

/*
 * Allocates. Something of `instead_of` bytes (0 = nothing) is about to be freed for it: a
 * replacement that is no larger is never past the limit. What the chunk holds beyond `size` may be
 * used, too. NULL with errno ENOSPC (past the limit) or ENOMEM.
 */
void *account_alloc(struct account *account, size_t size, size_t instead_of);

/* The same, aligned, and not in place of anything. */
void *account_alloc_aligned(struct account *account, size_t alignment, size_t size);

/* realloc(3): `memory` may be NULL, old_size is then 0. When it fails the old one stays. */
void *account_realloc(struct account *account, void *memory, size_t old_size, size_t size);

/* `memory` is not NULL. */
void account_free(struct account *account, void *memory, size_t size);

#endif
