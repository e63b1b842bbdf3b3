/* Records are small, so that the journal can store them in free pages and fold them one by one. */
#include "kv/batch.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>

/* Four pages with LMDB's header. A larger change has a record of its own. */
#define RECORD_SIZE (16u * 1024 - 16)
#define BLOCK_SIZE (16u * 1024) /* of memory for undos, unless one is larger */

/* The undos of a batch are freed together, so one allocation serves many. */
struct undo_block {
	struct undo_block *next;
	size_t used, capacity;
	max_align_t bytes[];
};

struct batch *batch_new(uint64_t commit)
{
	struct batch *batch = calloc(1, sizeof(*batch));

	if (batch == NULL)
		return NULL;
	batch->commit = commit;
	batch->spool_file = -1;
	TAILQ_INIT(&batch->records);
	return batch;
}

void batch_free(struct batch *batch)
{
	struct batch_record *record;

	if (batch == NULL)
		return;
	while ((record = TAILQ_FIRST(&batch->records)) != NULL) {
		TAILQ_REMOVE(&batch->records, record, entry);
		free(record);
	}
	while (batch->blocks != NULL) {
		struct undo_block *block = batch->blocks;

		batch->blocks = block->next;
		free(block);
	}
	free(batch);
}

static struct batch_record *last_record(const struct batch *batch)
{
	return TAILQ_LAST(&batch->records, batch_records);
}

static struct batch_record *add_record(struct batch *batch, size_t size)
{
	size_t capacity =
	    size > RECORD_SIZE - RECORD_HEADER ? size + RECORD_HEADER : (size_t)RECORD_SIZE;
	struct batch_record *record = malloc(sizeof(*record) + capacity);

	if (record == NULL)
		return NULL;
	record->length = RECORD_HEADER;
	record->capacity = capacity;
	record->checksummed = false;
	TAILQ_INSERT_TAIL(&batch->records, record, entry);
	return record;
}

int batch_add(struct batch *batch, const struct change *change)
{
	size_t size = change_size(change);
	struct batch_record *record = last_record(batch);

	if (record == NULL || record->capacity - record->length < size)
		record = add_record(batch, size);
	if (record == NULL)
		return -1;
	change_write(change, record->bytes + record->length);
	record->length += size;
	batch->size += size;
	batch->changes++;
	return 0;
}

void batch_undo_last(struct batch *batch, const struct change *change)
{
	struct batch_record *record = last_record(batch);
	size_t size = change_size(change);

	record->length -= size;
	batch->size -= size;
	batch->changes--;
	if (record->length == RECORD_HEADER) { /* the next change may be too large for it */
		TAILQ_REMOVE(&batch->records, record, entry);
		free(record);
	}
}

/* Takes over the changes of a whole record; false when there is no room for them. */
static bool absorb(struct batch_record *record, const unsigned char *bytes, size_t length)
{
	size_t size = length - RECORD_HEADER;

	if (record == NULL || record->capacity - record->length < size)
		return false;
	memcpy(record->bytes + record->length, bytes + RECORD_HEADER, size);
	record->length += size;
	record->checksummed = false;
	return true;
}

int batch_add_record(struct batch *batch, const unsigned char *bytes, size_t length)
{
	struct batch_record *record;

	batch->size += length - RECORD_HEADER;
	if (absorb(last_record(batch), bytes, length))
		return 0;
	record = add_record(batch, length - RECORD_HEADER);
	if (record == NULL)
		return -1;
	memcpy(record->bytes, bytes, length);
	record->length = length;
	record->checksummed = true;
	return 0;
}

/* A small batch is absorbed, because a record of its own could be a hundred times its size. */
void batch_join(struct batch *batch, struct batch *to)
{
	struct batch_record *first = TAILQ_FIRST(&batch->records);

	if (first != NULL && absorb(last_record(to), first->bytes, first->length)) {
		TAILQ_REMOVE(&batch->records, first, entry);
		free(first);
	}
	TAILQ_CONCAT(&to->records, &batch->records, entry);
	to->size += batch->size;
}

void batch_add_checksums(const struct batch *batch)
{
	struct batch_record *record;

	TAILQ_FOREACH (record, &batch->records, entry) {
		if (!record->checksummed)
			record_add_checksum(record->bytes, record->length);
		record->checksummed = true;
	}
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
    struct batch *batch, const struct table_key *key, const struct slice *value)
{
	size_t value_length = value == NULL ? 0 : value->length;
	struct undo *undo = undo_alloc(batch, sizeof(*undo) + key->length + value_length);

	if (undo == NULL)
		return NULL;
	*undo = (struct undo){
		.before = batch->undo,
		.key = { undo->bytes, key->length, key->hash },
		.commit = batch->commit,
		.existed = value != NULL,
		.value_length = value_length,
	};
	memcpy(undo->bytes, key->bytes, key->length);
	if (value_length > 0)
		memcpy(undo->bytes + key->length, value->bytes, value_length);
	batch->undo = undo;
	return undo;
}

void batch_drop_undo(struct batch *batch)
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
