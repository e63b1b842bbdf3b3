/*
 * Pages of cells. A new page has a sixteenth of the cells that are there, at most 256 or 16 KiB: what is lost to free
 * cells, and what must be freed until a page is free, is little of a small store, too.
 */
#include "kv/slab.h"

#include <stdalign.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_SIZE 16384
#define PAGE_CELLS 256
#define GROWTH 16

struct slab_page {
	struct slab_page *below;
	size_t cells_below;
	uint32_t used, capacity; /* cells; all are used in a page that is not at the top */
	alignas(SLAB_GRAIN) unsigned char cells[];
};

static size_t cell_size(size_t size)
{
	return (size + SLAB_GRAIN - 1) / SLAB_GRAIN * SLAB_GRAIN;
}

static size_t page_size(size_t cell, size_t capacity)
{
	return offsetof(struct slab_page, cells) + capacity * cell;
}

static size_t cells_of(const struct slab_page *top)
{
	return top == NULL ? 0 : top->cells_below + top->used;
}

static size_t next_capacity(const struct slab_page *top, size_t cell)
{
	size_t capacity = 1 + cells_of(top) / GROWTH;
	size_t most = (PAGE_SIZE - budget_chunk(page_size(cell, 0))) / cell;

	if (capacity > PAGE_CELLS)
		capacity = PAGE_CELLS;
	return capacity < most ? capacity : most;
}

size_t slab_usable_size(size_t size)
{
	return size <= SLAB_CELL_MAX ? cell_size(size) : budget_usable_size(size);
}

void *slab_alloc(struct slabs *slabs, size_t size, size_t instead_of)
{
	size_t cell = cell_size(size), credit = instead_of >= size ? SIZE_MAX : 0, capacity;
	struct slab_page **top, *page;
	void *chunk;

	if (size > SLAB_CELL_MAX) {
		if (credit == 0 && instead_of > SLAB_CELL_MAX)
			credit = budget_chunk(instead_of);
		chunk = budget_alloc(&slabs->budget, size, credit);
		slabs->chunks += chunk != NULL;
		return chunk;
	}
	top = &slabs->tops[cell / SLAB_GRAIN - 1];
	page = *top;
	if (page == NULL || page->used == page->capacity) {
		capacity = next_capacity(page, cell);
		page = budget_alloc(&slabs->budget, page_size(cell, capacity), credit);
		if (page == NULL)
			return NULL;
		page->below = *top;
		page->cells_below = cells_of(*top);
		page->used = 0;
		page->capacity = (uint32_t)capacity;
		*top = page;
	} else if (credit == 0 && budget_exceeded(&slabs->budget)) {
		return NULL;
	}
	return page->cells + page->used++ * cell;
}

/* free(3) would keep a page that is not at the end of the heap: the kernel takes what it can of it. */
static void page_pop(struct slabs *slabs, size_t cell)
{
	struct slab_page **top = &slabs->tops[cell / SLAB_GRAIN - 1], *page = *top;
	size_t size = page_size(cell, page->capacity), kernel_page = (size_t)sysconf(_SC_PAGESIZE);
	uintptr_t begin = ((uintptr_t)page + kernel_page - 1) / kernel_page * kernel_page;
	uintptr_t end = ((uintptr_t)page + size) / kernel_page * kernel_page;

	*top = page->below;
	if (end > begin)
		(void)madvise((void *)begin, end - begin, MADV_DONTNEED);
	budget_free(&slabs->budget, page, size);
}

void *slab_free(struct slabs *slabs, void *object, size_t size)
{
	size_t cell = cell_size(size);
	struct slab_page *page;
	unsigned char *last;

	if (size > SLAB_CELL_MAX) {
		budget_free(&slabs->budget, object, size);
		slabs->chunks--;
		return NULL;
	}
	page = slabs->tops[cell / SLAB_GRAIN - 1];
	last = page->cells + --page->used * cell;
	if (last != object)
		memcpy(object, last, cell);
	if (page->used == 0)
		page_pop(slabs, cell);
	return last == object ? NULL : last;
}

void slab_clear(struct slabs *slabs)
{
	for (size_t cell = SLAB_GRAIN; cell <= SLAB_CELL_MAX; cell += SLAB_GRAIN)
		while (slabs->tops[cell / SLAB_GRAIN - 1] != NULL)
			page_pop(slabs, cell);
}
