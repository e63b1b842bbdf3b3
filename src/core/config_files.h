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

struct config;

struct config_file {
	STAILQ_ENTRY(config_file) entry;
	const char *name; /* of those that the config keeps */
	config_t tree;    /* its settings point back to it: it must not move */
	const config_setting_t
	    *services; /* the group of that name, once the loader has found it; or NULL */
};

/* Those that could be parsed, later ones win. */
struct config_files {
	STAILQ_HEAD(, config_file) list;
	struct config *config; /* which keeps the names and texts of all files, includes too */
	bool broken; /* there are others: what seems to be missing may be in one of them */
};

/*
 * Reads the main file and its drop-ins; adds an error for each mistake. With may_wait, the main file may be a pipe.
 */
void config_files_read(
    struct config_files *files, const char *main_file, bool may_wait, struct strings *errors);
void config_files_clear(struct config_files *files);

/* Where a setting of the file is. */
struct option_origin config_files_origin(const struct config_files *files,
    const struct config_file *file, const config_setting_t *setting);

/* Where an element of a named array or list is. */
struct option_origin config_files_element_origin(const struct config_files *files,
    const struct config_file *file, const config_setting_t *array, unsigned index);

#endif
