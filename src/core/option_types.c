/* The types that are not numbers, and the error for a value that a type does not accept. */
#include <libconfig.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "core/escape.h"
#include "core/log.h"
#include "core/option.h"
#include "core/suggest.h"

int option_refuse(struct error *error, const struct config_setting_t *setting, const char *expected)
{
	char found[96], shown[80];
	const char *text;

	switch (config_setting_type(setting)) {
	case CONFIG_TYPE_INT:
		snprintf(found, sizeof(found), "%d", config_setting_get_int(setting));
		break;
	case CONFIG_TYPE_INT64:
		snprintf(found, sizeof(found), "%lld", config_setting_get_int64(setting));
		break;
	case CONFIG_TYPE_FLOAT:
		snprintf(found, sizeof(found), "%g", config_setting_get_float(setting));
		break;
	case CONFIG_TYPE_BOOL:
		snprintf(found, sizeof(found), "%s",
		    config_setting_get_bool(setting) ? "true" : "false");
		break;
	case CONFIG_TYPE_STRING:
		text = config_setting_get_string(setting);
		snprintf(found, sizeof(found), "\"%s\"",
		    log_escape(shown, sizeof(shown), text, strlen(text)));
		break;
	default:
		snprintf(found, sizeof(found), "%s",
		    config_setting_is_group(setting)   ? "a group"
		    : config_setting_is_array(setting) ? "an array"
						       : "a list");
	}
	return error_set(error, "expected %s, got %s", expected, found);
}

/* --- modes: libconfig would read 0660 as decimal, so they are strings --- */

static int mode_parse(const struct option_row *row, const struct config_setting_t *setting,
    void *field, struct error *error)
{
	const char *text = config_setting_get_string(setting);
	size_t length = text == NULL ? 0 : strlen(text);

	(void)row;
	if (length < 3 || length > 4 || strspn(text, "01234567") != length)
		return option_refuse(
		    error, setting, "a mode in octal and in double quotes, such as \"0660\"");
	*(mode_t *)field = (mode_t)strtoul(text, NULL, 8);
	return 0;
}

static void mode_print(const struct option_row *row, const void *field, FILE *out)
{
	(void)row;
	fprintf(out, "\"%04o\"", (unsigned)*(const mode_t *)field);
}

/* --- booleans --- */

static int bool_parse(const struct option_row *row, const struct config_setting_t *setting,
    void *field, struct error *error)
{
	(void)row;
	if (config_setting_type(setting) != CONFIG_TYPE_BOOL)
		return option_refuse(error, setting, "true or false");
	*(bool *)field = config_setting_get_bool(setting) == CONFIG_TRUE;
	return 0;
}

static void bool_print(const struct option_row *row, const void *field, FILE *out)
{
	(void)row;
	fputs(*(const bool *)field ? "true" : "false", out);
}

/* --- choices --- */

/* The index of the text among the row's choices, or -1. */
static int find_choice(const struct option_row *row, const char *text)
{
	for (int i = 0; text != NULL && row->choices[i] != NULL; i++)
		if (strcmp(row->choices[i], text) == 0)
			return i;
	return -1;
}

/* As option_refuse(), with the choice that a misspelt text may have meant. */
static int refuse_choice(
    const struct option_row *row, const struct config_setting_t *setting, struct error *error)
{
	const char *text = config_setting_get_string(setting);
	const char *meant = text == NULL ? NULL : suggest_name(text, row->choices);
	char shape[320];

	row->type->describe(row, shape, sizeof(shape));
	option_refuse(error, setting, shape);
	if (meant != NULL)
		error_set(error, "%s; did you mean \"%s\"?", error->text, meant);
	return -1;
}

static void choice_describe(const struct option_row *row, char *to, size_t size)
{
	size_t at = 0;

	for (size_t i = 0; row->choices[i] != NULL && at < size; i++) {
		const char *before = i == 0 ? "" : row->choices[i + 1] == NULL ? " or " : ", ";

		at += (size_t)snprintf(to + at, size - at, "%s\"%s\"", before, row->choices[i]);
	}
}

static int choice_parse(const struct option_row *row, const struct config_setting_t *setting,
    void *field, struct error *error)
{
	int *choice = field;

	*choice = find_choice(row, config_setting_get_string(setting));
	return *choice == -1 ? refuse_choice(row, setting, error) : 0;
}

static void choice_print(const struct option_row *row, const void *field, FILE *out)
{
	fprintf(out, "\"%s\"", row->choices[*(const int *)field]);
}

/* --- strings --- */

const char *option_read_string(const struct option_row *row, const struct config_setting_t *setting,
    const char *expected, struct error *error)
{
	const char *text = config_setting_get_string(setting);
	char shape[80];

	if (text != NULL && (*text != '\0' || row->flags & OPTION_EMPTY))
		return text;
	snprintf(shape, sizeof(shape), "%s%s", expected, text == NULL ? "" : " that is not empty");
	option_refuse(error, setting, shape);
	return NULL;
}

static int string_parse(const struct option_row *row, const struct config_setting_t *setting,
    void *field, struct error *error)
{
	const char *text = option_read_string(row, setting, "a string", error);

	if (text == NULL)
		return -1;
	*(char **)field = strdup(text);
	return *(char **)field == NULL ? error_memory(error) : 0;
}

static void print_quoted(const char *text, FILE *out)
{
	char escape[ESCAPE_MAX];

	putc('"', out);
	for (; *text != '\0'; text++) {
		unsigned char byte = (unsigned char)*text;

		if (byte == '"')
			fputs("\\\"", out);
		else if (byte == '\\' || byte < 0x20 || byte == 0x7f)
			fwrite(escape, 1, escape_write(*text, "", escape), out);
		else
			putc(byte, out);
	}
	putc('"', out);
}

static void string_print(const struct option_row *row, const void *field, FILE *out)
{
	const char *text = *(char *const *)field;

	(void)row;
	print_quoted(text == NULL ? "" : text, out);
}

static bool string_equal(const struct option_row *row, const void *a, const void *b)
{
	const char *x = *(char *const *)a, *y = *(char *const *)b;

	(void)row;
	return x == NULL || y == NULL ? x == y : strcmp(x, y) == 0;
}

static int string_copy(const struct option_row *row, void *to, const void *from)
{
	const char *text = *(char *const *)from;

	(void)row;
	*(char **)to = text == NULL ? NULL : strdup(text);
	return *(char **)to == NULL && text != NULL ? -1 : 0;
}

static void string_clear(const struct option_row *row, void *field)
{
	(void)row;
	free(*(char **)field);
	*(char **)field = NULL;
}

/* --- one of the choices, or an absolute path --- */

static void choice_or_path_describe(const struct option_row *row, char *to, size_t size)
{
	size_t at = 0;

	for (size_t i = 0; row->choices[i] != NULL && at < size; i++)
		at += (size_t)snprintf(
		    to + at, size - at, "%s\"%s\"", i == 0 ? "" : ", ", row->choices[i]);
	if (at < size)
		snprintf(to + at, size - at, " or an absolute path");
}

static int choice_or_path_parse(const struct option_row *row,
    const struct config_setting_t *setting, void *field, struct error *error)
{
	const char *text = config_setting_get_string(setting);

	if ((text != NULL && *text == '/') || find_choice(row, text) != -1)
		return string_parse(row, setting, field, error);
	return refuse_choice(row, setting, error);
}

/* --- lists of strings --- */

static void strings_free(const struct option_row *row, void *field)
{
	(void)row;
	strings_clear(field);
}

static int strings_parse(const struct option_row *row, const struct config_setting_t *setting,
    void *field, struct error *error)
{
	bool many = config_setting_is_array(setting) || config_setting_is_list(setting);
	int count = many ? config_setting_length(setting) : 1;

	for (int i = 0; i < count; i++) {
		const char *text = option_read_string(row,
		    many ? config_setting_get_elem(setting, (unsigned)i) : setting,
		    OPTION_LIST_EXPECTED(many), error);

		if (text != NULL && strings_add(field, text) == 0)
			continue;
		strings_clear(field);
		return text == NULL ? -1 : error_memory(error);
	}
	return 0;
}

static void strings_print(const struct option_row *row, const void *field, FILE *out)
{
	const struct strings *strings = field;

	(void)row;
	fputs("[", out);
	for (size_t i = 0; i < strings->count; i++) {
		fputs(i == 0 ? " " : ", ", out);
		print_quoted(strings->items[i], out);
	}
	fputs(" ]", out);
}

static bool strings_equal(const struct option_row *row, const void *a, const void *b)
{
	const struct strings *x = a, *y = b;
	size_t i = 0;

	(void)row;
	if (x->count != y->count)
		return false;
	while (i < x->count && strcmp(x->items[i], y->items[i]) == 0)
		i++;
	return i == x->count;
}

static int strings_copy(const struct option_row *row, void *to, const void *from)
{
	struct strings *strings = to;

	(void)row;
	strings_append(strings, from);
	if (!strings->lost)
		return 0;
	strings_clear(strings);
	return -1;
}

const struct option_type option_bool = {
	.name = "true or false",
	.size = sizeof(bool),
	.parse = bool_parse,
	.print = bool_print,
};

const struct option_type option_mode = {
	.name = "mode in octal, as a string",
	.size = sizeof(mode_t),
	.parse = mode_parse,
	.print = mode_print,
};

const struct option_type option_choice = {
	.name = "choice",
	.size = sizeof(int),
	.parse = choice_parse,
	.print = choice_print,
	.describe = choice_describe,
};

const struct option_type option_string = {
	.name = "string",
	.size = sizeof(char *),
	.parse = string_parse,
	.print = string_print,
	.equal = string_equal,
	.copy = string_copy,
	.clear = string_clear,
};

const struct option_type option_choice_or_path = {
	.name = "string",
	.size = sizeof(char *),
	.parse = choice_or_path_parse,
	.print = string_print,
	.equal = string_equal,
	.copy = string_copy,
	.clear = string_clear,
	.describe = choice_or_path_describe,
};

const struct option_type option_strings = {
	.name = "string or array of strings",
	.size = sizeof(struct strings),
	.parse = strings_parse,
	.print = strings_print,
	.equal = strings_equal,
	.copy = strings_copy,
	.clear = strings_free,
};
