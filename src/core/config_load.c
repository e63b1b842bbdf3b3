/*
 * Loading: files into trees, trees into the sections that the rows describe. A group under `services` may be spread
 * over files, and any of them may set its type. The loader therefore collects the names first, and then reads each
 * instance from all files. It collects the errors, too, so that one run shows all of them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/config.h"
#include "core/config_files.h"
#include "core/option_list.h"
#include "core/suggest.h"

#define PREFIX_SIZE 128

struct loader {
	struct config *config;
	const struct config_kind *const *kinds;
	struct strings *errors;
	struct config_files files;
	size_t text_errors; /* those that were found before any value was parsed */
};

/* --- values --- */

/* Sets the row's field from the setting, or adds an error. The prefix of its key is "" or ends in a dot. */
static void load_value(struct loader *loader, const struct config_file *file, const char *prefix,
    struct option_section *section, const struct option_row *row, const config_setting_t *setting)
{
	struct config_files *files = &loader->files;
	struct option_origin where = config_files_origin(files, file, setting);
	bool many = config_setting_is_array(setting) || config_setting_is_list(setting);
	unsigned count = many ? (unsigned)config_setting_length(setting) : 0;
	struct error error;
	char place[512];
	int length;

	if (option_set(section, row, setting, &where, &error) == 0) {
		/* The items of an array may be on different lines. */
		for (unsigned i = 0; row->type->item != NULL && i < count; i++)
			option_list_set_line(row, option_field(section, row), i,
			    config_files_element_origin(files, file, setting, i).line);
		return;
	}
	/* If libconfig has wrapped an integer of that line, what it read is not worth a second error. */
	length = snprintf(place, sizeof(place), "%s:%d: ", where.file, where.line);
	if (config_setting_is_number(setting) && length < (int)sizeof(place))
		for (size_t i = 0; i < loader->text_errors; i++)
			if (strncmp(loader->errors->items[i], place, (size_t)length) == 0)
				return;
	for (unsigned i = 0; i < count; i++)
		if (!option_accepts(row, config_setting_get_elem(setting, i))) {
			where = config_files_element_origin(files, file, setting, i);
			break;
		}
	errors_add(loader->errors, &where, "%s%s: %s", prefix, row->key, error.text);
}

/* True, or false with an error added. */
static bool expect_group(struct loader *loader, const struct config_file *file,
    const config_setting_t *setting, const char *prefix)
{
	struct option_origin where;
	struct error error;

	if (config_setting_is_group(setting))
		return true;
	where = config_files_origin(&loader->files, file, setting);
	option_refuse(&error, setting, "a group, { ... }");
	errors_add(
	    loader->errors, &where, "%s%s: %s", prefix, config_setting_name(setting), error.text);
	return false;
}

static void report_unknown(struct loader *loader, const struct config_file *file,
    const config_setting_t *setting, const char *prefix, const char *meant)
{
	struct option_origin where = config_files_origin(&loader->files, file, setting);

	errors_add(loader->errors, &where, "%s%s: unknown key%s%s%s", prefix,
	    config_setting_name(setting), meant != NULL ? "; did you mean \"" : "",
	    meant != NULL ? meant : "", meant != NULL ? "\"?" : "");
}

/* --- the groups beside `services` --- */

static void load_group(struct loader *loader, const struct config_file *file,
    const config_setting_t *setting, struct option_section *section)
{
	char prefix[PREFIX_SIZE];

	if (!expect_group(loader, file, setting, ""))
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
			report_unknown(loader, file, value, prefix, suggestion.best);
		}
	}
}

static void load_top(
    struct loader *loader, const struct config_file *file, const config_setting_t *setting)
{
	const char *name = config_setting_name(setting);
	struct suggestion suggestion = { .name = name };

	for (size_t i = 0; i < CONFIG_GROUPS; i++) {
		struct option_section *section = &loader->config->sections[i];
		const char *group = config_groups[i].name;
		const struct option_row *row =
		    group == NULL ? option_find(section->rows, name) : NULL;

		if (group != NULL && strcmp(group, name) == 0)
			load_group(loader, file, setting, section);
		else if (row != NULL)
			load_value(loader, file, "", section, row, setting);
		else
			continue;
		return;
	}
	suggest_offer(&suggestion, "services");
	option_suggest(&suggestion, main_rows);
	for (size_t i = 0; i < CONFIG_GROUPS; i++)
		if (config_groups[i].name != NULL)
			suggest_offer(&suggestion, config_groups[i].name);
	report_unknown(loader, file, setting, "", suggestion.best);
}

/* --- instances --- */

/* Adds the instance of a group under `services`, if an earlier file has not. */
static void declare_instance(
    struct loader *loader, const struct config_file *file, const config_setting_t *group)
{
	struct config *config = loader->config;
	const char *name = config_setting_name(group);
	struct option_origin where = config_files_origin(&loader->files, file, group);
	struct instance_config *instances;

	if (!expect_group(loader, file, group, "services."))
		return;
	if (name == NULL) { /* libconfig does not check strdup(3) */
		loader->errors->lost = true;
		return;
	}
	if (strchr(name, '*') != NULL || strlen(name) > 64) {
		errors_add(loader->errors, &where,
		    "services.%.80s: a name is made of at most 64 letters, digits, - and _", name);
		return;
	}
	if (config_instance(config, name) != NULL)
		return;
	instances = reallocarray(config->instances, config->instance_count + 1, sizeof(*instances));
	if (instances == NULL) {
		loader->errors->lost = true;
		return;
	}
	config->instances = instances;
	instances += config->instance_count;
	*instances = (struct instance_config){ .name = strdup(name), .origin = where };
	if (instances->name != NULL)
		config->instance_count++;
	else
		loader->errors->lost = true;
}

/* The instance's own group in a file, or NULL. */
static const config_setting_t *instance_group(const struct config_file *file, const char *name)
{
	const config_setting_t *group =
	    file->services == NULL ? NULL : config_setting_get_member(file->services, name);

	return group != NULL && config_setting_is_group(group) ? group : NULL;
}

static void report_kind(
    struct loader *loader, const char *path, const char *type, const struct option_origin *where)
{
	struct suggestion suggestion = { .name = type };
	char known[512] = "", shown[80];

	for (const struct config_kind *const *kind = loader->kinds; *kind != NULL; kind++) {
		size_t at = strlen(known);

		suggest_offer(&suggestion, (*kind)->type);
		snprintf(
		    known + at, sizeof(known) - at, "%s%s", at == 0 ? "" : ", ", (*kind)->type);
	}
	log_escape(shown, sizeof(shown), type, strlen(type));
	if (suggestion.best != NULL)
		errors_add(loader->errors, where,
		    "%s: unknown service type \"%s\"; did you mean \"%s\"?", path, shown,
		    suggestion.best);
	else
		errors_add(loader->errors, where,
		    "%s: unknown service type \"%s\"; the types are %s", path, shown, known);
}

/* The last file that has a `type` decides. False when there is no such kind: no key has a meaning then. */
static bool resolve_kind(struct loader *loader, struct instance_config *instance)
{
	struct option_origin where = instance->origin;
	const config_setting_t *setting = NULL, *found;
	const struct config_file *file;
	const char *type = instance->name;
	char path[PREFIX_SIZE];
	struct error error;

	STAILQ_FOREACH (file, &loader->files.list, entry) {
		const config_setting_t *group = instance_group(file, instance->name);

		if (group == NULL || (found = config_setting_get_member(group, "type")) == NULL)
			continue;
		setting = found;
		where = config_files_origin(&loader->files, file, setting);
		type = config_setting_get_string(setting);
	}
	for (const struct config_kind *const *kind = loader->kinds; *kind != NULL; kind++)
		if (type != NULL && strcmp((*kind)->type, type) == 0) {
			instance->kind = *kind;
			return true;
		}
	snprintf(
	    path, sizeof(path), "services.%s%s", instance->name, setting == NULL ? "" : ".type");
	if (type == NULL) {
		option_refuse(&error, setting, "a string");
		errors_add(loader->errors, &where, "%s: %s", path, error.text);
	} else if (setting != NULL || !loader->files.broken) {
		/* Otherwise a file that could not be parsed may have the type. */
		report_kind(loader, path, type, &where);
	}
	return false;
}

/* A key that this kind does not have: another kind's, or a misspelt one. */
static void report_key(struct loader *loader, const struct config_file *file,
    const struct instance_config *instance, const char *prefix, const config_setting_t *setting)
{
	struct option_origin where = config_files_origin(&loader->files, file, setting);
	const char *key = config_setting_name(setting);
	struct suggestion suggestion = { .name = key };
	char others[256] = "";
	size_t part;

	for (const struct config_kind *const *kind = loader->kinds; *kind != NULL; kind++) {
		size_t at = strlen(others);

		if (config_kind_row(*kind, key, &part) != NULL)
			snprintf(others + at, sizeof(others) - at, "%s%s", at == 0 ? "" : ", ",
			    (*kind)->type);
	}
	for (part = 0; part < CONFIG_PARTS; part++)
		if (instance->kind->parts[part].rows != NULL)
			option_suggest(&suggestion, instance->kind->parts[part].rows);
	if (*others == '\0')
		report_unknown(loader, file, setting, prefix, suggestion.best);
	else
		errors_add(loader->errors, &where, "%s%s: not a key of type \"%s\", only of %s",
		    prefix, key, instance->kind->type, others);
}

/* Sets all values that the files give. 0, or -1 when out of memory. */
static int load_values(struct loader *loader, struct instance_config *instance)
{
	const struct config_kind *kind = instance->kind;
	const struct config_file *file;
	char prefix[PREFIX_SIZE];
	size_t part;

	for (part = 0; part < CONFIG_PARTS; part++)
		if (kind->parts[part].rows != NULL &&
		    option_section_init(&instance->parts[part], kind->parts[part].rows,
			kind->parts[part].size) == -1)
			return -1;
	snprintf(prefix, sizeof(prefix), "services.%s.", instance->name);
	STAILQ_FOREACH (file, &loader->files.list, entry) {
		const config_setting_t *group = instance_group(file, instance->name);

		for (int i = 0; group != NULL && i < config_setting_length(group); i++) {
			const config_setting_t *setting =
			    config_setting_get_elem(group, (unsigned)i);
			const char *key = config_setting_name(setting);
			const struct option_row *row = config_kind_row(kind, key, &part);

			if (row != NULL)
				load_value(
				    loader, file, prefix, &instance->parts[part], row, setting);
			else if (strcmp(key, "type") != 0)
				report_key(loader, file, instance, prefix, setting);
		}
	}
	return 0;
}

/*
 * Where the key was given, or else the group. If *key is the text of an item of a list, returns the place of that
 * item, and sets *key to the key of the list.
 */
static struct option_origin key_origin(const struct instance_config *instance, const char **key)
{
	struct option_origin origin = instance->origin;
	size_t part;
	const struct option_row *row =
	    *key == NULL ? NULL : config_kind_row(instance->kind, *key, &part);

	if (row != NULL && option_origin(&instance->parts[part], row)->file != NULL)
		return *option_origin(&instance->parts[part], row);
	for (part = 0; *key != NULL && row == NULL && part < CONFIG_PARTS; part++) {
		const struct option_section *section = &instance->parts[part];

		for (const struct option_row *list = section->rows;
		     list != NULL && list->key != NULL; list++) {
			int line = list->type->item == NULL
				       ? 0
				       : option_list_line(list, option_field(section, list), *key);

			if (line == 0)
				continue;
			origin = *option_origin(section, list);
			origin.line = line;
			*key = list->key;
			return origin;
		}
	}
	return origin;
}

/* Adds what the check finds, if there is one and it finds anything. */
static void check_whole(struct strings *errors, const struct instance_config *instance,
    int (*check)(const struct instance_config *instance, struct error *error))
{
	struct option_origin where;
	struct error error;

	if (check == NULL || check(instance, &error) == 0)
		return;
	where = key_origin(instance, &error.key);
	errors_add(errors, &where, "services.%s%s%s: %s", instance->name,
	    error.key == NULL ? "" : ".", error.key == NULL ? "" : error.key, error.text);
}

/* What no value by itself shows: what is missing, and what does not fit together. */
static void check_instance(struct loader *loader, const struct instance_config *instance)
{
	const char *user = loader->config->main->user, *key = "command";
	size_t before = loader->errors->count;
	struct option_origin where;

	for (size_t i = 0; i < CONFIG_PARTS; i++)
		for (const struct option_row *row = instance->parts[i].rows;
		     row != NULL && row->key != NULL; row++)
			if (row->flags & OPTION_REQUIRED &&
			    !option_is_set(&instance->parts[i], row))
				errors_add(loader->errors, &instance->origin,
				    "services.%s.%s: is missing", instance->name, row->key);
	if (loader->errors->count == before)
		check_whole(loader->errors, instance, instance->kind->check);
	if (loader->errors->count == before)
		check_whole(&loader->config->warnings, instance, instance->kind->warn);
	/* Unless we are root or user is root, it is not known who will start the daemon. */
	if (!instance->kind->runs_programs ||
	    (user == NULL ? geteuid() != 0 : strcmp(user, "root") != 0))
		return;
	where = key_origin(instance, &key);
	errors_add(&loader->config->warnings, &where,
	    "services.%s.%s: it runs as root for every client, if echod is started as root; set "
	    "user to another user",
	    instance->name, key);
}

static void load_instance(struct loader *loader, struct instance_config *instance)
{
	size_t before = loader->errors->count, part;
	const struct option_row *row;
	struct option_section *section;

	if (!resolve_kind(loader, instance))
		return;
	if (load_values(loader, instance) == -1)
		goto fail;
	/* Without a file that says otherwise, it is of the type that it is named after, and enabled. */
	row = config_kind_row(instance->kind, "type", &part);
	if (row != NULL && !option_is_set(section = &instance->parts[part], row)) {
		char *type = strdup(instance->kind->type);

		if (type == NULL)
			goto fail;
		*(char **)option_field(section, row) = type;
		section->origins[row - section->rows] = instance->origin;
	}
	row = config_kind_row(instance->kind, "enabled", &part);
	instance->enabled = row == NULL || *(const bool *)option_field(&instance->parts[part], row);
	if (instance->enabled && !loader->files.broken && !loader->errors->lost &&
	    loader->errors->count == before)
		check_instance(loader, instance);
	return;
fail:
	loader->errors->lost = true;
}

/* Adds all errors of all files. */
static void load_files(struct loader *loader)
{
	struct config *config = loader->config;
	struct config_file *file;

	STAILQ_FOREACH (file, &loader->files.list, entry) {
		const config_setting_t *root = config_root_setting(&file->tree);

		for (int i = 0; i < config_setting_length(root); i++) {
			const config_setting_t *top = config_setting_get_elem(root, (unsigned)i);

			if (strcmp(config_setting_name(top), "services") != 0)
				load_top(loader, file, top);
		}
	}
	STAILQ_FOREACH (file, &loader->files.list, entry) {
		const config_setting_t *services = config_lookup(&file->tree, "services");

		if (services == NULL || !expect_group(loader, file, services, ""))
			continue;
		file->services = services;
		for (int i = 0; i < config_setting_length(services); i++)
			declare_instance(
			    loader, file, config_setting_get_elem(services, (unsigned)i));
	}
	for (size_t i = 0; i < config->instance_count; i++)
		load_instance(loader, &config->instances[i]);
}

struct config *config_load(
    const char *file, bool may_wait, const struct config_kind *const *kinds, struct strings *errors)
{
	struct config *config = calloc(1, sizeof(*config));
	struct loader loader = {
		.config = config, .kinds = kinds, .errors = errors, .files.config = config
	};
	struct option_origin where = { .file = file };
	bool is_idle = true;

	if (config == NULL)
		goto fail;
	for (size_t i = 0; i < CONFIG_GROUPS; i++)
		if (option_section_init(
			&config->sections[i], config_groups[i].rows, config_groups[i].size) == -1)
			goto fail;
	config->main = config->sections[0].fields;
	config->log = config->sections[1].fields;
	config->limits = config->sections[2].fields;
	config->tls = config->sections[3].fields;
	config_files_read(&loader.files, file, may_wait, errors);
	loader.text_errors = errors->count;
	load_files(&loader);
	config_files_clear(&loader.files);
	for (size_t i = 0; i < config->instance_count; i++)
		is_idle &= !config->instances[i].enabled;
	if (is_idle && errors->count == 0 && !errors->lost)
		errors_add(errors, &where, "no service is enabled");
	if (errors->count == 0 && !errors->lost)
		return config;
	config_free(config);
	return NULL;
fail:
	config_free(config);
	errors->lost = true;
	return NULL;
}
