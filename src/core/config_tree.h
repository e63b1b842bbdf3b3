/* libconfig's parser, for text that is in memory. */
#ifndef ECHOD_CORE_CONFIG_TREE_H
#define ECHOD_CORE_CONFIG_TREE_H

#include <libconfig.h>

/*
 * Parses the text; includes are relative to the directory, "" = to the current one. 0, or -1 with errno:
 * EINVAL, and the tree says what is wrong; or ENOMEM. The tree is the caller's to destroy in any case.
 */
int config_tree_parse(config_t *tree, const char *text, const char *include_directory);

#endif
