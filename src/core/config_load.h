/* Inside the loader: what reading the groups and reading the services share. */
#ifndef ECHOD_CORE_CONFIG_LOAD_H
#define ECHOD_CORE_CONFIG_LOAD_H

#include <libconfig.h>
#include <stdbool.h>
#include <stddef.h>

#include "core/config.h"
#include "core/config_files.h"
#include "core/suggest.h"

struct loader {
	struct config *config;
	const struct config_kind *const *kinds;
	struct strings *errors;
	struct config_files files;
	size_t text_errors; /* those made before a value was looked at */
};

/* All groups under `services` of all files, and what only the whole of an instance shows. */
void load_services(struct loader *loader);

struct option_origin load_origin(
    struct loader *loader, const struct config_file *file, const config_setting_t *setting);

/* Sets the row's field from the setting, or adds an error. A prefix is "" or ends in a dot. */
void load_value(struct loader *loader, const struct config_file *file, const char *prefix,
    struct option_section *section, const struct option_row *row, const config_setting_t *setting);

/* True, or false with an error added. */
bool load_expects_group(struct loader *loader, const struct config_file *file,
    const config_setting_t *setting, const char *prefix);

/* `near` may be NULL. */
void load_report_unknown(struct loader *loader, const struct config_file *file,
    const config_setting_t *setting, const char *prefix, const char *near);

#endif
