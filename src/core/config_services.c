/*
 * Instances. A group under `services` may be spread over files and its type may stand in any of
 * them, so the names are collected first, and each instance is then read over all files.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/config_load.h"
#include "core/option_list.h"

#define PREFIX_SIZE 128

static const config_setting_t *services_of(const struct config_file *file)
{
	return config_lookup(&file->tree, "services");
}

/* The instance's own group in a file, or NULL. */
static const config_setting_t *group_of(const struct config_file *file, const char *name)
{
	const config_setting_t *services = services_of(file), *group = NULL;

	if (services != NULL && config_setting_is_group(services))
		group = config_setting_get_member(services, name);
	return group != NULL && config_setting_is_group(group) ? group : NULL;
}

static void add_instance(
    struct loader *loader, const char *name, const struct option_origin *origin)
{
	struct config *config = loader->config;
	struct instance_config *instances, *instance;

	if (config_instance(config, name) != NULL)
		return;
	instances = reallocarray(config->instances, config->instance_count + 1, sizeof(*instances));
	if (instances == NULL) {
		loader->errors->lost = true;
		return;
	}
	config->instances = instances;
	instance = &instances[config->instance_count];
	*instance = (struct instance_config){ .name = strdup(name), .origin = *origin };
	if (instance->name != NULL)
		config->instance_count++;
	else
		loader->errors->lost = true;
}

static void declare(
    struct loader *loader, const struct config_file *file, const config_setting_t *group)
{
	struct option_origin where = load_origin(loader, file, group);
	const char *name = config_setting_name(group);

	if (!load_expects_group(loader, file, group, "services."))
		return;
	if (strchr(name, '*') != NULL || strlen(name) > 64)
		errors_add(loader->errors, &where,
		    "services.%.80s: a name is made of at most 64 letters, digits, - and _", name);
	else
		add_instance(loader, name, &where);
}

static void declare_all(struct loader *loader)
{
	const struct config_file *file;

	STAILQ_FOREACH (file, &loader->files.list, entry) {
		const config_setting_t *services = services_of(file);

		if (services == NULL || !load_expects_group(loader, file, services, ""))
			continue;
		for (int i = 0; i < config_setting_length(services); i++)
			declare(loader, file, config_setting_get_elem(services, (unsigned)i));
	}
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

/* The `type` that the last file gives, and where; NULL when none does. */
static const config_setting_t *find_type(
    struct loader *loader, const struct instance_config *instance, struct option_origin *where)
{
	const config_setting_t *type = NULL;
	const struct config_file *file;

	STAILQ_FOREACH (file, &loader->files.list, entry) {
		const config_setting_t *group = group_of(file, instance->name);
		const config_setting_t *setting =
		    group == NULL ? NULL : config_setting_get_member(group, "type");

		if (setting != NULL) {
			type = setting;
			*where = load_origin(loader, file, setting);
		}
	}
	return type;
}

/* False when there is no such kind; the keys cannot be looked at then. */
static bool resolve_kind(struct loader *loader, struct instance_config *instance)
{
	struct option_origin where = instance->origin;
	const config_setting_t *setting = find_type(loader, instance, &where);
	const char *type = setting == NULL ? instance->name : config_setting_get_string(setting);
	char path[PREFIX_SIZE];
	struct error error;

	snprintf(
	    path, sizeof(path), "services.%s%s", instance->name, setting == NULL ? "" : ".type");
	if (type == NULL) {
		option_refuse(&error, setting, "a string");
		errors_add(loader->errors, &where, "%s: %s", path, error.text);
		return false;
	}
	for (const struct config_kind *const *kind = loader->kinds; *kind != NULL; kind++)
		if (strcmp((*kind)->type, type) == 0) {
			instance->kind = *kind;
			return true;
		}
	/* A file that could not be read may have said what this is. */
	if (setting != NULL || !loader->files.broken)
		report_kind(loader, path, type, &where);
	return false;
}

/* A key that this kind does not have: another kind's, or a misspelt one. */
static void report_key(struct loader *loader, const struct config_file *file,
    const struct instance_config *instance, const char *prefix, const config_setting_t *setting)
{
	struct option_origin where = load_origin(loader, file, setting);
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
		load_report_unknown(loader, file, setting, prefix, suggestion.best);
	else
		errors_add(loader->errors, &where, "%s%s: not a key of type \"%s\", only of %s",
		    prefix, key, instance->kind->type, others);
}

static void load_instance_group(struct loader *loader, struct instance_config *instance,
    const struct config_file *file, const config_setting_t *group)
{
	char prefix[PREFIX_SIZE];
	size_t part;

	snprintf(prefix, sizeof(prefix), "services.%s.", instance->name);
	for (int i = 0; i < config_setting_length(group); i++) {
		const config_setting_t *setting = config_setting_get_elem(group, (unsigned)i);
		const char *key = config_setting_name(setting);
		const struct option_row *row = config_kind_row(instance->kind, key, &part);

		if (row != NULL)
			load_value(loader, file, prefix, &instance->parts[part], row, setting);
		else if (strcmp(key, "type") != 0)
			report_key(loader, file, instance, prefix, setting);
	}
}

static bool init_parts(struct instance_config *instance)
{
	for (size_t i = 0; i < CONFIG_PARTS; i++) {
		const struct config_part *part = &instance->kind->parts[i];

		if (part->rows != NULL &&
		    option_section_init(&instance->parts[i], part->rows, part->size) == -1)
			return false;
	}
	return true;
}

/* A type that no file gave is the instance's name, and came with it. */
static bool settle_type(struct instance_config *instance)
{
	char text[80];
	size_t part;
	const struct option_row *row = config_kind_row(instance->kind, "type", &part);

	if (row == NULL || option_is_set(&instance->parts[part], row))
		return true;
	snprintf(text, sizeof(text), "\"%s\"", instance->kind->type);
	return option_set_text(&instance->parts[part], row, text, &instance->origin) == 0;
}

static void check_required(struct loader *loader, const struct instance_config *instance)
{
	for (size_t i = 0; i < CONFIG_PARTS; i++) {
		const struct option_section *section = &instance->parts[i];

		if (section->rows == NULL)
			continue;
		for (const struct option_row *row = section->rows; row->key != NULL; row++)
			if (row->flags & OPTION_REQUIRED && !option_is_set(section, row))
				errors_add(loader->errors, &instance->origin,
				    "services.%s.%s: is missing", instance->name, row->key);
	}
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
	for (part = 0; *key != NULL && row == NULL && part < CONFIG_PARTS; part++)
		for (const struct option_row *list = instance->parts[part].rows;
		     list != NULL && list->key != NULL; list++) {
			int line = list->type->item == NULL
				       ? 0
				       : option_list_line(list,
					     option_field(&instance->parts[part], list), *key);

			if (line == 0)
				continue;
			origin = *option_origin(&instance->parts[part], list);
			origin.line = line;
			*key = list->key;
			return origin;
		}
	return origin;
}

/* Adds what the check finds, if there is one and it finds anything. */
static void check_whole(struct strings *errors, const struct instance_config *instance,
    int (*check)(const struct instance_config *instance, struct error *error))
{
	struct error error;
	struct option_origin where;
	const char *key;

	if (check == NULL || check(instance, &error) == 0)
		return;
	key = error.key;
	where = key_origin(instance, &key);
	errors_add(errors, &where, "services.%s%s%s: %s", instance->name, key == NULL ? "" : ".",
	    key == NULL ? "" : key, error.text);
}

/* Warns only if we are root or user is root: otherwise it is not known who will start the daemon. */
static void warn_of_root(struct loader *loader, const struct instance_config *instance)
{
	const char *user = loader->config->main->user, *key = "command";
	struct option_origin where = key_origin(instance, &key);

	if (user == NULL ? geteuid() != 0 : strcmp(user, "root") != 0)
		return;
	errors_add(&loader->config->warnings, &where,
	    "services.%s.%s: it runs as root for every client, if echod is started as root; set "
	    "user to another user",
	    instance->name, key);
}

static void load_instance(struct loader *loader, struct instance_config *instance)
{
	size_t before = loader->errors->count;
	const struct config_file *file;

	if (!resolve_kind(loader, instance))
		return;
	if (!init_parts(instance)) {
		loader->errors->lost = true;
		return;
	}
	STAILQ_FOREACH (file, &loader->files.list, entry) {
		const config_setting_t *group = group_of(file, instance->name);

		if (group != NULL)
			load_instance_group(loader, instance, file, group);
	}
	if (!settle_type(instance))
		loader->errors->lost = true;
	if (loader->files.broken || loader->errors->lost || loader->errors->count > before ||
	    !instance_enabled(instance))
		return;
	check_required(loader, instance);
	if (loader->errors->count == before)
		check_whole(loader->errors, instance, instance->kind->check);
	if (loader->errors->count == before)
		check_whole(&loader->config->warnings, instance, instance->kind->warn);
	if (instance->kind->runs_programs)
		warn_of_root(loader, instance);
}

void load_services(struct loader *loader)
{
	declare_all(loader);
	for (size_t i = 0; i < loader->config->instance_count; i++)
		load_instance(loader, &loader->config->instances[i]);
}
