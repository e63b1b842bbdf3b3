/*
 * The pages of an environment as LMDB 0.9 lays them out. What is wrong in a page's header does not show in
 * what is read from it; but the next change would believe it, and destroy other pages. So every page that
 * can be reached is looked at: that it is what it should be, and in one place only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kv/journal_parts.h"

/* LMDB's structures, in the machine's own order and sizes. */
struct page {
	size_t number;
	uint16_t pad, flags;
	uint16_t lower, upper; /* of the gap between the offsets of the nodes and the nodes */
	uint16_t offsets[];
};

struct node {
	uint16_t low, high; /* size of the data; of a branch, number of the page */
	uint16_t flags;     /* of a branch, more of it */
	uint16_t key_length;
	unsigned char key[];
};

struct tree {
	uint32_t pad;
	uint16_t flags, depth;
	size_t branch_pages, leaf_pages, overflow_pages, entries, root;
};

struct meta {
	uint32_t magic, version;
	void *address;
	size_t map_size;
	struct tree free_list, main;
	size_t last_page, transaction;
};

enum { BRANCH = 1, LEAF = 2, OVERFLOW = 4 };          /* flags of pages */
enum { BIG_DATA = 1, TREE_DATA = 2, NODE_FLAGS = 3 }; /* and of nodes */

/* Of the free list; the rest are the environment's. */
#define TABLE_FLAGS                                                                      \
	(MDB_REVERSEKEY | MDB_DUPSORT | MDB_INTEGERKEY | MDB_DUPFIXED | MDB_INTEGERDUP | \
	    MDB_REVERSEDUP)

#define PAGE_HEADER offsetof(struct page, offsets)
#define NODE_HEADER offsetof(struct node, key)
#define NO_PAGE SIZE_MAX
#define DEPTH_MAX 32

struct walk {
	const unsigned char *map;
	size_t size, count; /* of a page, of pages */
	unsigned char *seen;
};

static const struct page *page_at(const struct walk *w, size_t number)
{
	return (const struct page *)(const void *)(w->map + number * w->size);
}

/* Nobody else has it. */
static bool take_pages(struct walk *w, size_t number, size_t count)
{
	if (number < 2 || number >= w->count || count > w->count - number)
		return false;
	for (size_t i = number; i < number + count; i++)
		if (w->seen[i]++ != 0)
			return false;
	return true;
}

static bool walk_tree(struct walk *w, const struct tree *tree);

static size_t data_length(const struct node *node)
{
	return node->low | (size_t)node->high << 16;
}

static size_t child_of(const struct node *node)
{
	size_t number = data_length(node);

	if (sizeof(number) > sizeof(uint32_t))
		number |= (size_t)node->flags << 16 << 16;
	return number;
}

static size_t node_count(const struct page *page)
{
	return (page->lower - PAGE_HEADER) / sizeof(page->offsets[0]);
}

static const struct node *node_at(const struct page *page, size_t offset)
{
	return (const struct node *)(const void *)((const unsigned char *)page + offset);
}

static const struct node *last_node(const struct page *page)
{
	size_t count = node_count(page);

	return count == 0 ? NULL : node_at(page, page->offsets[count - 1]);
}

/* A value that has pages of its own. */
static bool walk_overflow(struct walk *w, const struct node *node)
{
	size_t number, length = data_length(node), count;
	const struct page *page;
	uint32_t pages;

	memcpy(&number, node->key + node->key_length, sizeof(number));
	count = (PAGE_HEADER - 1 + length) / w->size + 1;
	if (!take_pages(w, number, count))
		return false;
	page = page_at(w, number);
	memcpy(&pages, &page->lower, sizeof(pages));
	return page->number == number && page->flags == OVERFLOW && pages == count;
}

static bool walk_leaf_node(struct walk *w, const struct node *node, size_t room)
{
	struct tree tree;
	size_t length = node->flags & BIG_DATA ? sizeof(size_t) : data_length(node);

	if ((node->flags & ~NODE_FLAGS) != 0 || room < node->key_length ||
	    room - node->key_length < length)
		return false;
	if (node->flags == BIG_DATA)
		return walk_overflow(w, node);
	if (node->flags != TREE_DATA)
		return node->flags == 0;
	if (length != sizeof(tree))
		return false;
	memcpy(&tree, node->key + node->key_length, sizeof(tree));
	return walk_tree(w, &tree);
}

static bool walk_page(struct walk *w, size_t number, unsigned depth);

static bool walk_branch_node(struct walk *w, const struct node *node, size_t room, unsigned depth)
{
	return node->key_length <= room && walk_page(w, child_of(node), depth - 1);
}

static bool walk_nodes(struct walk *w, const struct page *page, unsigned depth)
{
	for (size_t i = 0; i < node_count(page); i++) {
		size_t offset = page->offsets[i], room;
		const struct node *node = node_at(page, offset);

		if (offset < page->upper || offset % 2 != 0 || w->size - NODE_HEADER < offset)
			return false;
		room = w->size - NODE_HEADER - offset;
		if (depth == 1 ? !walk_leaf_node(w, node, room)
			       : !walk_branch_node(w, node, room, depth))
			return false;
	}
	return true;
}

static bool walk_page(struct walk *w, size_t number, unsigned depth)
{
	const struct page *page;

	if (!take_pages(w, number, 1))
		return false;
	page = page_at(w, number);
	return page->number == number && page->flags == (depth == 1 ? LEAF : BRANCH) &&
	       page->lower >= PAGE_HEADER && page->lower <= page->upper && page->upper <= w->size &&
	       walk_nodes(w, page, depth);
}

static bool walk_tree(struct walk *w, const struct tree *tree)
{
	if (tree->root == NO_PAGE)
		return tree->depth == 0 && tree->entries == 0;
	return tree->depth > 0 && tree->depth <= DEPTH_MAX && walk_page(w, tree->root, tree->depth);
}

/* What is free is in no tree, and free once. */
static bool walk_free_list(struct walk *w, MDB_txn *txn)
{
	MDB_cursor *cursor;
	MDB_val key, value;
	bool sound = true;

	if (mdb_cursor_open(txn, 0, &cursor) != 0)
		return false;
	while (sound && mdb_cursor_get(cursor, &key, &value, MDB_NEXT) == 0) {
		const size_t *list = value.mv_data;

		sound = value.mv_size >= sizeof(*list) && list[0] < value.mv_size / sizeof(*list);
		for (size_t i = 1; sound && i <= list[0]; i++)
			sound = take_pages(w, list[i], 1);
	}
	mdb_cursor_close(cursor);
	return sound;
}

/* The highest key of a tree that has been walked. */
static size_t last_number(const struct walk *w, const struct tree *tree)
{
	size_t number = tree->root;

	for (unsigned depth = tree->depth; depth > 0; depth--) {
		const struct page *page = page_at(w, number);
		const struct node *node = last_node(page);

		if (node == NULL)
			return 0;
		if (depth > 1)
			number = child_of(node);
		else
			memcpy(&number, node->key, sizeof(number));
	}
	return number;
}

/*
 * A commit frees the root that it replaces, under its own number, so that what is in it tells its number. A
 * wrong one may have had LMDB take the older page of the first two for the newer one, and forget what came
 * since. The other page is not to be asked: what LMDB puts back after a failure is a mixture.
 */
static bool has_its_number(const struct walk *w, const struct meta *meta)
{
	if (meta->free_list.root == NO_PAGE)
		return meta->transaction <= 1;
	return last_number(w, &meta->free_list) == meta->transaction;
}

static bool walk_all(struct walk *w, MDB_txn *txn)
{
	struct meta meta;

	memcpy(&meta, w->map + mdb_txn_id(txn) % 2 * w->size + PAGE_HEADER, sizeof(meta));
	return (meta.free_list.flags & TABLE_FLAGS) == MDB_INTEGERKEY && meta.main.flags == 0 &&
	       walk_tree(w, &meta.free_list) && has_its_number(w, &meta) &&
	       walk_tree(w, &meta.main) && walk_free_list(w, txn);
}

int journal_pages_check(MDB_txn *txn, int data_fd, size_t page_size, size_t page_count)
{
	struct walk walk = { .size = page_size, .count = page_count };
	void *map = mmap(NULL, page_size * page_count, PROT_READ, MAP_SHARED, data_fd, 0);
	int code = MDB_CORRUPTED;

	if (map == MAP_FAILED)
		return errno;
	walk.map = map;
	walk.seen = calloc(page_count, 1);
	if (walk.seen == NULL)
		code = ENOMEM;
	else if (walk_all(&walk, txn))
		code = 0;
	free(walk.seen);
	munmap(map, page_size * page_count);
	return code;
}

static int read_meta(int data_fd, size_t page, size_t page_size, struct meta *meta)
{
	ssize_t n = pread(data_fd, meta, sizeof(*meta), (off_t)(page * page_size + PAGE_HEADER));

	if (n == -1)
		return errno;
	return n == sizeof(*meta) && meta->version == 1 ? 0 : MDB_CORRUPTED;
}

/*
 * Even and odd transactions write pages 0 and 1 in turn. With a wrong number, LMDB would take the older page for the
 * newer one, and lose all later changes.
 */
int journal_metas_check(int data_fd, size_t page_size)
{
	struct meta metas[2];
	size_t even, odd;
	int code = 0;

	for (size_t page = 0; code == 0 && page < 2; page++)
		code = read_meta(data_fd, page, page_size, &metas[page]);
	if (code != 0)
		return code;
	even = metas[0].transaction;
	odd = metas[1].transaction;
	if ((even == 0 && odd == 0) ||
	    (even % 2 == 0 && odd % 2 == 1 && (even + 1 == odd || odd + 1 == even)))
		return 0;
	return MDB_CORRUPTED;
}
