/*
 * The config itself: its groups and their rows, its complaints, its instances, and what of an old
 * one stays in force.
 */
#include "core/config.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define MINUTE 60000

const struct option_row limit_rows[] = {
	OPTION(struct limit_settings, max_connections, integer, .min = 1, .max = 1000000,
	    .fallback = "4096", .help = "Clients of all services together."),
	OPTION(struct limit_settings, max_per_source, integer, .min = 1, .max = 1000000,
	    .fallback = "256",
	    .help = "Clients of one service from one address; an IPv6 client counts with its /64."),
	OPTION(struct limit_settings, shutdown_timeout, duration, .max = 60 * MINUTE,
	    .fallback = "10", .unit = "seconds",
	    .help = "How long a stop waits for clients to take their last answers."),
	OPTION_END,
};

const struct option_row main_rows[] = {
	OPTION(struct main_settings, user, string, .flags = OPTION_RESTART,
	    .help = "Who to become when started as root."),
	OPTION_END,
};

const struct config_group config_groups[CONFIG_GROUPS] = {
	{ NULL, main_rows, sizeof(struct main_settings) },
	{ "log", log_rows, sizeof(struct log_settings) },
	{ "limits", limit_rows, sizeof(struct limit_settings) },
};

void complaints_add(
    struct complaints *complaints, const struct option_origin *where, const char *format, ...)
{
	char text[1024], place[32] = "";
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	if (where->line > 0)
		snprintf(place, sizeof(place), ":%d", where->line);
	if (texts_addf(&complaints->lines, "%s%s%s%s", where->file == NULL ? "" : where->file,
		place, where->file == NULL ? "" : ": ", text) == -1)
		complaints->lost = true;
}

void complaints_clear(struct complaints *complaints)
{
	texts_clear(&complaints->lines);
	complaints->lost = false;
}

void config_free(struct config *config)
{
	if (config == NULL)
		return;
	for (size_t i = 0; i < CONFIG_GROUPS; i++)
		option_section_clear(&config->sections[i]);
	for (size_t i = 0; i < config->instance_count; i++) {
		for (size_t part = 0; part < CONFIG_PARTS; part++)
			option_section_clear(&config->instances[i].parts[part]);
		free(config->instances[i].name);
	}
	free(config->instances);
	texts_clear(&config->files);
	complaints_clear(&config->warnings);
	free(config);
}

struct instance_config *config_instance(const struct config *config, const char *name)
{
	for (size_t i = 0; i < config->instance_count; i++)
		if (strcmp(config->instances[i].name, name) == 0)
			return &config->instances[i];
	return NULL;
}

const struct option_row *config_kind_row(
    const struct config_kind *kind, const char *key, size_t *part)
{
	for (*part = 0; *part < CONFIG_PARTS; (*part)++) {
		const struct option_row *rows = kind->parts[*part].rows;
		const struct option_row *row = rows == NULL ? NULL : option_find(rows, key);

		if (row != NULL)
			return row;
	}
	return NULL;
}

bool instance_enabled(const struct instance_config *instance)
{
	size_t part;
	const struct option_row *row = config_kind_row(instance->kind, "enabled", &part);

	if (row == NULL || row->type != &option_bool)
		return true;
	return *(const bool *)((const char *)instance->parts[part].fields + row->offset);
}

/* The texts of its origins belong to the old config: the new one needs its own. */
static int keep_value(struct config *next, struct option_section *to,
    const struct option_section *from, const struct option_row *row)
{
	struct option_origin *origin;

	if (option_copy(to, from, row) == -1)
		return -1;
	origin = &to->origins[row - to->rows];
	if (origin->file == NULL)
		return 0;
	origin->file = texts_intern(&next->files, origin->file);
	return origin->file == NULL ? -1 : 0;
}

static int keep_section(struct config *next, const char *prefix, struct option_section *to,
    const struct option_section *from, struct complaints *kept)
{
	static const struct option_origin nowhere = { 0 };

	for (const struct option_row *row = from->rows; row->key != NULL; row++) {
		char *value;

		if (!(row->flags & OPTION_RESTART) || option_same(from, to, row))
			continue;
		if (keep_value(next, to, from, row) == -1 ||
		    (value = option_format(from, row)) == NULL)
			return -1;
		complaints_add(kept, &nowhere, "%s%s: needs a restart, stays %s", prefix, row->key,
		    option_is_set(from, row) ? value : "unset");
		free(value);
	}
	return 0;
}

static int keep_instance(struct config *next, struct instance_config *to,
    const struct instance_config *from, struct complaints *kept)
{
	char prefix[128];

	snprintf(prefix, sizeof(prefix), "services.%s.", to->name);
	for (size_t part = 0; part < CONFIG_PARTS; part++)
		if (to->parts[part].rows != NULL &&
		    keep_section(next, prefix, &to->parts[part], &from->parts[part], kept) == -1)
			return -1;
	return 0;
}

int config_keep_unreloadable(
    const struct config *running, struct config *next, struct complaints *kept)
{
	for (size_t i = 0; i < CONFIG_GROUPS; i++) {
		const char *group = config_groups[i].name;
		char prefix[32] = "";

		if (group != NULL)
			snprintf(prefix, sizeof(prefix), "%s.", group);
		if (keep_section(next, prefix, &next->sections[i], &running->sections[i], kept) ==
		    -1)
			return -1;
	}
	for (size_t i = 0; i < next->instance_count; i++) {
		struct instance_config *to = &next->instances[i];
		const struct instance_config *from = config_instance(running, to->name);

		if (from != NULL && from->kind == to->kind &&
		    keep_instance(next, to, from, kept) == -1)
			return -1;
	}
	return 0;
}
