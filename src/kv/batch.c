/* The changes are in one buffer that doubles, the undos in blocks: they are found by pointers and must not move. */
#include "kv/batch.h"

#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "kv/change.h"

#define FRAME_MAX ((size_t)1 << 30)   /* its length has 32 bits */
#define BLOCK_SIZE ((size_t)16 << 10) /* of memory for undos, unless one is larger */

/* The undos of a batch are freed together, so one allocation serves many. */
struct undo_block {
	struct undo_block *next;
	size_t used, capacity;
	max_align_t bytes[];
};

struct batch *batch_new(uint64_t commit)
{
	struct batch *batch = malloc(sizeof(*batch));

	if (batch == NULL)
		return NULL;
	*batch = (struct batch){ .commit = commit };
	if (buffer_room(&batch->frame, BATCH_HEADER) == NULL) {
		free(batch);
		return NULL;
	}
	batch->frame.length = BATCH_HEADER;
	return batch;
}

void batch_free(struct batch *batch)
{
	if (batch == NULL)
		return;
	while (batch->blocks != NULL) {
		struct undo_block *block = batch->blocks;

		batch->blocks = block->next;
		free(block);
	}
	free(batch->frame.bytes);
	free(batch);
}

int batch_add(struct batch *batch, const struct change *change)
{
	size_t size = change_size(change);
	unsigned char *to;

	if (batch->frame.length + size > FRAME_MAX) {
		errno = ENOMEM;
		return -1;
	}
	to = buffer_room(&batch->frame, size);
	if (to == NULL)
		return -1;
	change_write(change, to);
	batch->frame.length += size;
	batch->changes++;
	batch->puts += !change->deletion;
	return 0;
}

void batch_remove_last(struct batch *batch, const struct change *change)
{
	batch->frame.length -= change_size(change);
	batch->changes--;
	batch->puts -= !change->deletion;
}

static struct undo_block *add_block(struct batch *batch, size_t size)
{
	size_t capacity = size > BLOCK_SIZE ? size : BLOCK_SIZE;
	struct undo_block *block = malloc(sizeof(*block) + capacity);

	if (block == NULL)
		return NULL;
	*block = (struct undo_block){ .next = batch->blocks, .capacity = capacity };
	batch->blocks = block;
	return block;
}

static void *undo_alloc(struct batch *batch, size_t size)
{
	struct undo_block *block = batch->blocks;
	void *memory;

	size = (size + sizeof(max_align_t) - 1) / sizeof(max_align_t) * sizeof(max_align_t);
	if (block == NULL || block->capacity - block->used < size)
		block = add_block(batch, size);
	if (block == NULL)
		return NULL;
	memory = (char *)block->bytes + block->used;
	block->used += size;
	return memory;
}

struct undo *batch_add_undo(
    struct batch *batch, const struct table_key *key, const struct item *item)
{
	size_t value_length = item == NULL ? 0 : item->value.length;
	struct undo *undo = undo_alloc(batch, sizeof(*undo) + key->length + value_length);

	if (undo == NULL)
		return NULL;
	*undo = (struct undo){
		.before = batch->undo,
		.key = { undo->bytes, key->length, key->hash },
		.commit = batch->commit,
		.existed = item != NULL,
	};
	memcpy(undo->bytes, key->bytes, key->length);
	if (item != NULL) {
		undo->item = *item;
		undo->item.value.bytes = (const char *)undo->bytes + key->length;
	}
	if (value_length > 0)
		memcpy(undo->bytes + key->length, item->value.bytes, value_length);
	batch->undo = undo;
	return undo;
}

void batch_remove_undo(struct batch *batch)
{
	struct undo_block *block = batch->blocks;
	struct undo *undo = batch->undo;

	batch->undo = undo->before;
	block->used = (size_t)((unsigned char *)undo - (unsigned char *)block->bytes);
	if (block->used == 0) {
		batch->blocks = block->next;
		free(block);
	}
}
