/*
 * The files of a config: the main one, its drop-ins and what they include, each read, checked for
 * what libconfig would not notice, and parsed by it.
 */
#ifndef ECHOD_CORE_CONFIG_FILES_H
#define ECHOD_CORE_CONFIG_FILES_H

#include <libconfig.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "core/option.h"
#include "core/strings.h"

struct strings;

struct config_file {
	STAILQ_ENTRY(config_file) entry;
	const char *name; /* in the texts that were given for names */
	char *text;       /* as it was read */
	config_t tree;    /* its settings point back to it: it must not move */
};

/* Those that could be parsed, later ones win. */
struct config_files {
	STAILQ_HEAD(, config_file) list;
	bool broken; /* there are others: what seems to be missing may stand in one of them */
};

/*
 * Adds an error for each mistake. The names of all files, includes too, are added to `names`. With may_wait, the
 * main file may be a pipe.
 */
void config_files_read(struct config_files *files, const char *main_file, bool may_wait,
    struct strings *names, struct strings *errors);
void config_files_clear(struct config_files *files);

/* Where a setting of the file stands. */
struct option_origin config_files_origin(
    const struct config_file *file, const config_setting_t *setting, struct strings *names);

/* The same, for an element of a named array or list. */
struct option_origin config_files_element_origin(const struct config_file *file,
    const config_setting_t *array, unsigned index, struct strings *names);

#endif
