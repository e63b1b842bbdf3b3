/*
 * libconfig 1.5 does not look whether it gets the memory that it asks for. So this asks for more than it
 * will take, and gives that back at once: if there is too little, a config is refused, and nobody crashes.
 */
#include "core/config_tree.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define PARSER_SIZE (64 * 1024) /* its buffers and stacks */
#define BYTE_SIZE 64            /* of the tree, for a byte of text; `a=1;` makes the most */

static int find_memory(size_t size)
{
	void *volatile memory = malloc(size); /* volatile: or the compiler leaves both calls out */

	free(memory);
	return memory == NULL ? -1 : 0;
}

int config_tree_parse(config_t *tree, const char *text, const char *include_directory)
{
	memset(tree, 0, sizeof(*tree)); /* what config_destroy() takes for an empty one */
	if (find_memory(PARSER_SIZE + BYTE_SIZE * strlen(text)) == -1)
		return -1;
	config_init(tree);
	if (*include_directory != '\0')
		config_set_include_dir(tree, include_directory);
	if (config_read_string(tree, text) == CONFIG_TRUE)
		return 0;
	errno = EINVAL;
	return -1;
}
