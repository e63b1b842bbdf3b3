/*
 * Sections: rows applied to a struct. A section owns its fields, what they point to, and the
 * origins; the rows are constant and shared.
 */
#include "core/option.h"

#include <errno.h>
#include <libconfig.h>
#include <stdlib.h>
#include <string.h>

#include "core/config_tree.h"
#include "core/suggest.h"

void *option_field(const struct option_section *section, const struct option_row *row)
{
	return (char *)section->fields + row->offset;
}

static size_t index_of(const struct option_section *section, const struct option_row *row)
{
	return (size_t)(row - section->rows);
}

static void clear_field(struct option_section *section, const struct option_row *row)
{
	if (row->type->clear != NULL)
		row->type->clear(option_field(section, row));
	memset(option_field(section, row), 0, row->type->size);
	section->origins[index_of(section, row)] = (struct option_origin){ 0 };
}

static int set_defaults(struct option_section *section)
{
	static const struct option_origin built_in = { 0 };

	for (const struct option_row *row = section->rows; row->key != NULL; row++)
		if (row->fallback != NULL &&
		    option_set_text(section, row, row->fallback, &built_in) == -1)
			return -1;
	return 0;
}

int option_section_init(struct option_section *section, const struct option_row *rows, size_t size)
{
	size_t count = 0;

	while (rows[count].key != NULL)
		count++;
	section->rows = rows;
	section->fields = calloc(1, size);
	section->origins = calloc(count + 1, sizeof(*section->origins));
	if (section->fields == NULL || section->origins == NULL || set_defaults(section) == -1) {
		int saved = errno;

		option_section_clear(section);
		errno = saved;
		return -1;
	}
	return 0;
}

void option_section_clear(struct option_section *section)
{
	if (section->fields != NULL && section->origins != NULL)
		for (const struct option_row *row = section->rows; row->key != NULL; row++)
			clear_field(section, row);
	free(section->fields);
	free(section->origins);
	*section = (struct option_section){ 0 };
}

const struct option_row *option_find(const struct option_row *rows, const char *key)
{
	for (; rows->key != NULL; rows++)
		if (strcmp(rows->key, key) == 0)
			return rows;
	return NULL;
}

void option_suggest(struct suggestion *suggestion, const struct option_row *rows)
{
	for (; rows->key != NULL; rows++)
		suggest_offer(suggestion, rows->key);
}

int option_set(struct option_section *section, const struct option_row *row,
    const struct config_setting_t *setting, const struct option_origin *origin, char *why,
    size_t why_size)
{
	void *value = calloc(1, row->type->size);

	if (value == NULL) {
		snprintf(why, why_size, "out of memory");
		return -1;
	}
	if (row->type->parse(row, setting, value, why, why_size) == -1) {
		free(value);
		return -1;
	}
	clear_field(section, row);
	memcpy(option_field(section, row), value, row->type->size);
	section->origins[index_of(section, row)] = *origin;
	free(value);
	return 0;
}

bool option_accepts(const struct option_row *row, const struct config_setting_t *setting)
{
	void *value = calloc(1, row->type->size);
	char why[256];
	bool accepts =
	    value != NULL && row->type->parse(row, setting, value, why, sizeof(why)) == 0;

	if (accepts && row->type->clear != NULL)
		row->type->clear(value);
	free(value);
	return accepts;
}

int option_set_text(struct option_section *section, const struct option_row *row, const char *text,
    const struct option_origin *origin)
{
	char *source, why[256];
	config_t tree;
	int result = -1;

	if (asprintf(&source, "value = %s;", text) == -1) {
		errno = ENOMEM;
		return -1;
	}
	if (config_tree_parse(&tree, source, "") == 0) {
		errno = 0;
		result = option_set(
		    section, row, config_lookup(&tree, "value"), origin, why, sizeof(why));
	}
	if (result == -1 && errno != ENOMEM)
		errno = EINVAL;
	config_destroy(&tree);
	free(source);
	return result;
}

const struct option_origin *option_origin(
    const struct option_section *section, const struct option_row *row)
{
	return &section->origins[index_of(section, row)];
}

const struct option_origin *option_origin_of(const struct option_section *section, const char *key)
{
	return option_origin(section, option_find(section->rows, key));
}

bool option_is_set(const struct option_section *section, const struct option_row *row)
{
	return row->fallback != NULL || option_origin(section, row)->file != NULL;
}

char *option_format(const struct option_section *section, const struct option_row *row)
{
	char *text = NULL;
	size_t length;
	FILE *out = open_memstream(&text, &length);

	if (out == NULL)
		return NULL;
	row->type->print(row, option_field(section, row), out);
	if (fclose(out) != 0) {
		free(text);
		return NULL;
	}
	return text;
}

/* Every type can print, so printing is what compares them all. */
bool option_same(
    const struct option_section *a, const struct option_section *b, const struct option_row *row)
{
	char *text_a = option_format(a, row), *text_b = option_format(b, row);
	bool same = text_a != NULL && text_b != NULL && strcmp(text_a, text_b) == 0;

	free(text_a);
	free(text_b);
	return same;
}

int option_copy(
    struct option_section *to, const struct option_section *from, const struct option_row *row)
{
	char *text;
	int result;

	if (!option_is_set(from, row)) {
		clear_field(to, row);
		return 0;
	}
	if ((text = option_format(from, row)) == NULL)
		return -1;
	result = option_set_text(to, row, text, option_origin(from, row));
	free(text);
	return result;
}

void option_explain(const struct option_row *row, const char *path, FILE *out)
{
	char shape[512];

	if (row->type->describe != NULL)
		row->type->describe(row, shape, sizeof(shape));
	else
		snprintf(shape, sizeof(shape), "%s", row->type->name);
	fprintf(out, "%s: %s; ", path, shape);
	if (row->fallback != NULL)
		fprintf(out, "default %s\n", row->fallback);
	else
		fputs(
		    row->flags & OPTION_REQUIRED ? "must be given\n" : "not set by default\n", out);
	if (row->help != NULL)
		fprintf(out, "    %s\n", row->help);
	if (row->flags & OPTION_RESTART)
		fputs("    A change needs a restart.\n", out);
}
