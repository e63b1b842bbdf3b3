/* The config shown: -T prints one that is in force, --explain what could stand in one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "core/suggest.h"

#define ORIGIN_COLUMN 47

/* A line with its origin behind it. */
static void print_line(
    FILE *out, int indent, const char *key, const char *value, const struct option_origin *origin)
{
	char file[512];
	int width = fprintf(out, "%*s%s = %s", indent, "", key, value);

	fprintf(out, "%*s # ", width < ORIGIN_COLUMN ? ORIGIN_COLUMN - width : 0, "");
	if (origin->file == NULL)
		fputs("default\n", out);
	else
		fprintf(out, "%s:%d\n",
		    log_escape(file, sizeof(file), origin->file, strlen(origin->file)),
		    origin->line);
}

static void print_section(const struct option_section *section, int indent, FILE *out)
{
	for (const struct option_row *row = section->rows; row->key != NULL; row++) {
		char *value = option_format(section, row), *setting = NULL;

		if (!option_is_set(section, row))
			fprintf(out, "%*s# %s is not set\n", indent, "", row->key);
		else if (value != NULL && asprintf(&setting, "%s;", value) != -1)
			print_line(out, indent, row->key, setting, option_origin(section, row));
		free(setting);
		free(value);
	}
}

void config_print(const struct config *config, FILE *out)
{
	for (size_t i = 0; i < CONFIG_GROUPS; i++) {
		const char *group = config_groups[i].name;

		if (group != NULL)
			fprintf(out, "%s = {\n", group);
		print_section(&config->sections[i], group != NULL ? 2 : 0, out);
		if (group != NULL)
			fputs("};\n", out);
	}
	fputs("services = {\n", out);
	for (size_t i = 0; i < config->instance_count; i++) {
		const struct instance_config *instance = &config->instances[i];

		print_line(out, 2, instance->name, "{", &instance->origin);
		for (size_t part = 0; part < CONFIG_PARTS; part++)
			if (instance->parts[part].rows != NULL)
				print_section(&instance->parts[part], 4, out);
		fputs("  };\n", out);
	}
	fputs("};\n", out);
}

static void explain_rows(const struct option_row *rows, const char *prefix, FILE *out)
{
	for (; rows->key != NULL; rows++) {
		char path[128];

		snprintf(path, sizeof(path), "%s%s", prefix, rows->key);
		option_explain(rows, path, out);
	}
}

static const struct config_group *find_group(const char *name, size_t length)
{
	for (size_t i = 0; i < CONFIG_GROUPS; i++) {
		const char *known = config_groups[i].name;

		if (known != NULL && strlen(known) == length && memcmp(known, name, length) == 0)
			return &config_groups[i];
	}
	return NULL;
}

static const struct config_kind *find_kind(
    const struct config_kind *const *kinds, const char *type, size_t length)
{
	for (; *kinds != NULL; kinds++)
		if (strlen((*kinds)->type) == length && memcmp((*kinds)->type, type, length) == 0)
			return *kinds;
	return NULL;
}

/* "services.NAME.max_line (kv, upper)" for the kinds from `kinds` on that share the row. */
static void explain_shared(
    const struct option_row *row, const struct config_kind *const *kinds, bool every, FILE *out)
{
	char path[512];
	int at = snprintf(path, sizeof(path), "services.NAME.%s (", row->key);
	const char *separator = "";
	size_t part;

	if (every)
		at += snprintf(path + at, sizeof(path) - (size_t)at, "every service");
	for (; !every && *kinds != NULL && at < 400; kinds++)
		if (config_kind_row(*kinds, row->key, &part) == row) {
			at += snprintf(path + at, sizeof(path) - (size_t)at, "%s%s", separator,
			    (*kinds)->type);
			separator = ", ";
		}
	snprintf(path + at, sizeof(path) - (size_t)at, ")");
	option_explain(row, path, out);
}

/* How many of the kinds, up to `end`, have this very row. */
static size_t count_sharing(const struct option_row *row, const struct config_kind *const *kinds,
    const struct config_kind *const *end)
{
	size_t count = 0, part;

	for (; *kinds != NULL && kinds != end; kinds++)
		count += config_kind_row(*kinds, row->key, &part) == row;
	return count;
}

/* Every place that has the key; false when there is none. */
static bool explain_places(const char *key, const struct config_kind *const *kinds, FILE *out)
{
	bool found = false;

	for (size_t i = 0; i < CONFIG_GROUPS; i++) {
		const struct option_row *row = option_find(config_groups[i].rows, key);
		char path[128];

		if (row == NULL)
			continue;
		snprintf(path, sizeof(path), "%s%s%s",
		    config_groups[i].name == NULL ? "" : config_groups[i].name,
		    config_groups[i].name == NULL ? "" : ".", key);
		option_explain(row, path, out);
		found = true;
	}
	for (const struct config_kind *const *kind = kinds; *kind != NULL; kind++) {
		size_t part, total = 0;
		const struct option_row *row = config_kind_row(*kind, key, &part);

		while (kinds[total] != NULL)
			total++;
		if (row == NULL || count_sharing(row, kinds, kind) > 0)
			continue;
		explain_shared(row, kind, count_sharing(row, kinds, NULL) == total, out);
		found = true;
	}
	return found;
}

/* A key with its group or type before the dot; false when there is no such key. */
static bool explain_member(
    const char *path, size_t head, const struct config_kind *const *kinds, FILE *out)
{
	const struct config_group *group = find_group(path, head);
	const struct config_kind *kind = find_kind(kinds, path, head);
	const struct option_row *row = NULL;
	size_t part;

	if (group != NULL)
		row = option_find(group->rows, path + head + 1);
	else if (kind != NULL)
		row = config_kind_row(kind, path + head + 1, &part);
	if (row != NULL)
		option_explain(row, path, out);
	return row != NULL;
}

static bool explain_name(const char *name, const struct config_kind *const *kinds, FILE *out)
{
	const struct config_group *group = find_group(name, strlen(name));
	const struct config_kind *kind = find_kind(kinds, name, strlen(name));

	if (strcmp(name, "services") == 0) {
		for (; *kinds != NULL; kinds++)
			fprintf(out, "%s: %s\n", (*kinds)->type, (*kinds)->help);
	} else if (kind != NULL) {
		fprintf(out, "%s: %s\n\n", kind->type, kind->help);
		for (size_t part = 0; part < CONFIG_PARTS; part++)
			if (kind->parts[part].rows != NULL)
				explain_rows(kind->parts[part].rows, "", out);
	} else if (group != NULL) {
		explain_rows(group->rows, "", out);
	} else {
		return explain_places(name, kinds, out);
	}
	return true;
}

int config_explain(const char *key, const struct config_kind *const *kinds, FILE *out)
{
	const char *name = strncmp(key, "services.", 9) == 0 ? key + 9 : key;
	const char *dot = strchr(name, '.');
	struct suggestion suggestion = { .name = dot == NULL ? name : dot + 1 };

	if (dot != NULL ? explain_member(name, (size_t)(dot - name), kinds, out)
			: explain_name(name, kinds, out))
		return 0;
	suggest_offer(&suggestion, "services");
	for (size_t i = 0; i < CONFIG_GROUPS; i++) {
		if (config_groups[i].name != NULL)
			suggest_offer(&suggestion, config_groups[i].name);
		option_suggest(&suggestion, config_groups[i].rows);
	}
	for (; *kinds != NULL; kinds++) {
		suggest_offer(&suggestion, (*kinds)->type);
		for (size_t part = 0; part < CONFIG_PARTS; part++)
			if ((*kinds)->parts[part].rows != NULL)
				option_suggest(&suggestion, (*kinds)->parts[part].rows);
	}
	if (suggestion.best != NULL)
		fprintf(out, "%s: unknown; did you mean \"%s\"?\n", key, suggestion.best);
	else
		fprintf(out, "%s: unknown\n", key);
	return -1;
}
