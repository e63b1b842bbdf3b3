/*
 * Loading: files into trees, trees into the sections that the rows describe. Mistakes are
 * collected, not fatal, so that one run shows them all.
 */
#include "core/config_load.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/option_list.h"

struct option_origin load_origin(
    struct loader *loader, const struct config_file *file, const config_setting_t *setting)
{
	return config_files_origin(file, setting, &loader->config->files);
}

/* libconfig has wrapped an integer of that line: what it read is not worth a second error. */
static bool is_wrapped(
    const struct loader *loader, const config_setting_t *setting, const struct option_origin *where)
{
	char place[512];
	int length = snprintf(place, sizeof(place), "%s:%d: ", where->file, where->line);

	if (!config_setting_is_number(setting) || length >= (int)sizeof(place))
		return false;
	for (size_t i = 0; i < loader->text_errors; i++)
		if (strncmp(loader->errors->items[i], place, (size_t)length) == 0)
			return true;
	return false;
}

/* The items of an array may be on different lines. */
static void note_item_lines(struct loader *loader, const struct config_file *file,
    struct option_section *section, const struct option_row *row, const config_setting_t *setting)
{
	if (row->type->item == NULL || !config_setting_is_aggregate(setting))
		return;
	for (int i = 0; i < config_setting_length(setting); i++) {
		struct option_origin where =
		    config_files_element_origin(file, setting, (unsigned)i, &loader->config->files);

		option_list_set_line(row, option_field(section, row), (size_t)i, where.line);
	}
}

/* Where the first element is that the row does not accept; for a setting that is no array, where it is itself. */
static struct option_origin error_origin(struct loader *loader, const struct config_file *file,
    const struct option_row *row, const config_setting_t *setting)
{
	if (config_setting_is_array(setting) || config_setting_is_list(setting))
		for (int i = 0; i < config_setting_length(setting); i++)
			if (!option_accepts(row, config_setting_get_elem(setting, (unsigned)i)))
				return config_files_element_origin(
				    file, setting, (unsigned)i, &loader->config->files);
	return load_origin(loader, file, setting);
}

void load_value(struct loader *loader, const struct config_file *file, const char *prefix,
    struct option_section *section, const struct option_row *row, const config_setting_t *setting)
{
	struct option_origin where = load_origin(loader, file, setting);
	struct error error;

	if (option_set(section, row, setting, &where, &error) == 0) {
		note_item_lines(loader, file, section, row, setting);
	} else if (!is_wrapped(loader, setting, &where)) {
		where = error_origin(loader, file, row, setting);
		errors_add(loader->errors, &where, "%s%s: %s", prefix, row->key, error.text);
	}
}

bool load_expects_group(struct loader *loader, const struct config_file *file,
    const config_setting_t *setting, const char *prefix)
{
	struct option_origin where = load_origin(loader, file, setting);
	struct error error;

	if (config_setting_is_group(setting))
		return true;
	option_refuse(&error, setting, "a group, { ... }");
	errors_add(
	    loader->errors, &where, "%s%s: %s", prefix, config_setting_name(setting), error.text);
	return false;
}

void load_report_unknown(struct loader *loader, const struct config_file *file,
    const config_setting_t *setting, const char *prefix, const char *near)
{
	struct option_origin where = load_origin(loader, file, setting);

	if (near != NULL)
		errors_add(loader->errors, &where, "%s%s: unknown key; did you mean \"%s\"?",
		    prefix, config_setting_name(setting), near);
	else
		errors_add(loader->errors, &where, "%s%s: unknown key", prefix,
		    config_setting_name(setting));
}

static void load_group(struct loader *loader, const struct config_file *file,
    const config_setting_t *setting, size_t index)
{
	struct option_section *section = &loader->config->sections[index];
	char prefix[32];

	if (!load_expects_group(loader, file, setting, ""))
		return;
	snprintf(prefix, sizeof(prefix), "%s.", config_setting_name(setting));
	for (int i = 0; i < config_setting_length(setting); i++) {
		const config_setting_t *value = config_setting_get_elem(setting, (unsigned)i);
		const char *key = config_setting_name(value);
		const struct option_row *row = option_find(section->rows, key);
		struct suggestion suggestion = { .name = key };

		if (row != NULL) {
			load_value(loader, file, prefix, section, row, value);
		} else {
			option_suggest(&suggestion, section->rows);
			load_report_unknown(loader, file, value, prefix, suggestion.best);
		}
	}
}

static const char *nearest_at_top(const char *name)
{
	struct suggestion suggestion = { .name = name };

	suggest_offer(&suggestion, "services");
	option_suggest(&suggestion, main_rows);
	for (size_t i = 0; i < CONFIG_GROUPS; i++)
		if (config_groups[i].name != NULL)
			suggest_offer(&suggestion, config_groups[i].name);
	return suggestion.best;
}

static void load_top(
    struct loader *loader, const struct config_file *file, const config_setting_t *setting)
{
	const char *name = config_setting_name(setting);

	if (strcmp(name, "services") == 0)
		return;
	for (size_t i = 0; i < CONFIG_GROUPS; i++) {
		struct option_section *section = &loader->config->sections[i];
		const char *group = config_groups[i].name;
		const struct option_row *row =
		    group == NULL ? option_find(section->rows, name) : NULL;

		if (group != NULL && strcmp(group, name) == 0)
			load_group(loader, file, setting, i);
		else if (row != NULL)
			load_value(loader, file, "", section, row, setting);
		else
			continue;
		return;
	}
	load_report_unknown(loader, file, setting, "", nearest_at_top(name));
}

static void load_tops(struct loader *loader)
{
	const struct config_file *file;

	STAILQ_FOREACH (file, &loader->files.list, entry) {
		const config_setting_t *root = config_root_setting(&file->tree);

		for (int i = 0; i < config_setting_length(root); i++)
			load_top(loader, file, config_setting_get_elem(root, (unsigned)i));
	}
}
static bool init_sections(struct config *config)
{
	for (size_t i = 0; i < CONFIG_GROUPS; i++)
		if (option_section_init(
			&config->sections[i], config_groups[i].rows, config_groups[i].size) == -1)
			return false;
	config->main = config->sections[0].fields;
	config->log = config->sections[1].fields;
	config->limits = config->sections[2].fields;
	return true;
}

static void report_idle(struct loader *loader, const char *file)
{
	struct option_origin where = { .file = file };

	for (size_t i = 0; i < loader->config->instance_count; i++)
		if (instance_enabled(&loader->config->instances[i]))
			return;
	errors_add(loader->errors, &where, "no service is enabled");
}

struct config *config_load(
    const char *file, bool may_wait, const struct config_kind *const *kinds, struct strings *errors)
{
	struct loader loader = { .kinds = kinds, .errors = errors };

	loader.config = calloc(1, sizeof(*loader.config));
	if (loader.config == NULL || !init_sections(loader.config)) {
		config_free(loader.config);
		errors->lost = true;
		return NULL;
	}
	config_files_read(&loader.files, file, may_wait, &loader.config->files, errors);
	loader.text_errors = errors->count;
	load_tops(&loader);
	load_services(&loader);
	if (errors->count == 0 && !errors->lost)
		report_idle(&loader, file);
	config_files_clear(&loader.files);
	if (errors->count > 0 || errors->lost) {
		config_free(loader.config);
		return NULL;
	}
	return loader.config;
}
