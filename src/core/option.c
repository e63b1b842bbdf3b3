/*
 * Sections: rows applied to a struct. A section owns its fields, what they point to, and the
 * origins; the rows are constant and shared.
 */
#include "core/option.h"

#include <errno.h>
#include <libconfig.h>
#include <stdlib.h>
#include <string.h>

#include "core/config_text.h"
#include "core/suggest.h"

void *option_field(const struct option_section *section, const struct option_row *row)
{
	return (char *)section->fields + row->offset;
}

/* A field of any type, outside of a section. */
union option_value {
	max_align_t alignment;
	char bytes[OPTION_SIZE_MAX];
};

int option_section_init(struct option_section *section, const struct option_row *rows, size_t size)
{
	size_t count = 0;

	while (rows[count].key != NULL)
		count++;
	section->rows = rows;
	section->fields = calloc(1, size);
	section->origins = calloc(count + 1, sizeof(*section->origins));
	if (section->fields == NULL || section->origins == NULL)
		goto fail;
	for (const struct option_row *row = rows; row->key != NULL; row++) {
		void *field = (char *)section->fields + row->offset;

		if (row->fallback == NULL)
			continue;
		if (row->type->copy == NULL)
			memcpy(field, row->fallback, row->type->size);
		else if (row->type->copy(row, field, row->fallback) == -1)
			goto fail;
	}
	return 0;
fail:
	option_section_clear(section);
	errno = ENOMEM;
	return -1;
}

void option_section_clear(struct option_section *section)
{
	if (section->fields != NULL)
		for (const struct option_row *row = section->rows; row->key != NULL; row++)
			if (row->type->clear != NULL)
				row->type->clear(row, (char *)section->fields + row->offset);
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

/* Takes over what the value owns. */
static void replace_value(struct option_section *section, const struct option_row *row,
    const void *value, const struct option_origin *origin)
{
	void *field = (char *)section->fields + row->offset;

	if (row->type->clear != NULL)
		row->type->clear(row, field);
	memcpy(field, value, row->type->size);
	section->origins[row - section->rows] = *origin;
}

int option_set(struct option_section *section, const struct option_row *row,
    const struct config_setting_t *setting, const struct option_origin *origin, struct error *error)
{
	union option_value value = { 0 };

	if (row->type->parse(row, setting, &value, error) == -1)
		return -1;
	replace_value(section, row, &value, origin);
	return 0;
}

bool option_accepts(const struct option_row *row, const struct config_setting_t *setting)
{
	union option_value value = { 0 };
	struct error error;

	if (row->type->parse(row, setting, &value, &error) == -1)
		return false;
	if (row->type->clear != NULL)
		row->type->clear(row, &value);
	return true;
}

int option_set_text(struct option_section *section, const struct option_row *row, const char *text,
    const struct option_origin *origin)
{
	struct error error = { 0 };
	char *source;
	config_t tree;
	int result = -1;

	if (asprintf(&source, "value = %s;", text) == -1) {
		errno = ENOMEM;
		return -1;
	}
	if (text_parse(&tree, source, "") == 0) {
		result = option_set(section, row, config_lookup(&tree, "value"), origin, &error);
		errno = error.code != 0 ? error.code : EINVAL;
	}
	config_destroy(&tree);
	free(source);
	return result;
}

const struct option_origin *option_origin(
    const struct option_section *section, const struct option_row *row)
{
	return &section->origins[row - section->rows];
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

bool option_equal(
    const struct option_section *a, const struct option_section *b, const struct option_row *row)
{
	const char *x = (const char *)a->fields + row->offset;
	const char *y = (const char *)b->fields + row->offset;

	return row->type->equal != NULL ? row->type->equal(row, x, y)
					: memcmp(x, y, row->type->size) == 0;
}

int option_copy(
    struct option_section *to, const struct option_section *from, const struct option_row *row)
{
	const void *field = option_field(from, row);
	union option_value value = { 0 };

	if (row->type->copy == NULL)
		memcpy(&value, field, row->type->size);
	else if (row->type->copy(row, &value, field) == -1)
		return -1;
	replace_value(to, row, &value, option_origin(from, row));
	return 0;
}

void option_explain(const struct option_row *row, const char *path, FILE *out)
{
	char shape[512];

	if (row->type->describe != NULL)
		row->type->describe(row, shape, sizeof(shape));
	else
		snprintf(shape, sizeof(shape), "%s", row->type->name);
	fprintf(out, "%s: %s; ", path, shape);
	if (row->fallback != NULL) {
		fputs("default ", out);
		row->type->print(row, row->fallback, out);
		putc('\n', out);
	} else {
		fputs(
		    row->flags & OPTION_REQUIRED ? "must be given\n" : "not set by default\n", out);
	}
	if (row->help != NULL)
		fprintf(out, "    %s\n", row->help);
	if (row->flags & OPTION_RESTART)
		fputs("    A change needs a restart.\n", out);
}
