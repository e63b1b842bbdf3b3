/* The types that are not numbers, and the words for what a type does not take. */
#include <libconfig.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>

#include "core/log.h"
#include "core/option.h"
#include "core/suggest.h"

static void show_found(const struct config_setting_t *setting, char *to, size_t size)
{
	char shown[80];
	const char *text;

	switch (config_setting_type(setting)) {
	case CONFIG_TYPE_INT:
	case CONFIG_TYPE_INT64:
		snprintf(to, size, "%lld",
		    config_setting_type(setting) == CONFIG_TYPE_INT
			? config_setting_get_int(setting)
			: config_setting_get_int64(setting));
		break;
	case CONFIG_TYPE_FLOAT:
		snprintf(to, size, "%g", config_setting_get_float(setting));
		break;
	case CONFIG_TYPE_BOOL:
		snprintf(to, size, "%s", config_setting_get_bool(setting) ? "true" : "false");
		break;
	case CONFIG_TYPE_STRING:
		text = config_setting_get_string(setting);
		snprintf(to, size, "\"%s\"", log_escape(shown, sizeof(shown), text, strlen(text)));
		break;
	default:
		snprintf(to, size, "%s",
		    config_setting_is_group(setting)   ? "a group"
		    : config_setting_is_array(setting) ? "an array"
						       : "a list");
	}
}

int option_refuse(
    const struct config_setting_t *setting, char *why, size_t why_size, const char *expected, ...)
{
	char wanted[384], found[96];
	va_list args;

	va_start(args, expected);
	vsnprintf(wanted, sizeof(wanted), expected, args);
	va_end(args);
	show_found(setting, found, sizeof(found));
	snprintf(why, why_size, "expected %s, got %s", wanted, found);
	return -1;
}

/* Modes: libconfig would read 0660 as decimal, so they are strings. */

static int parse_mode(const struct option_row *row, const struct config_setting_t *setting,
    void *field, char *why, size_t why_size)
{
	const char *text = config_setting_get_string(setting);
	size_t length = text == NULL ? 0 : strlen(text);

	(void)row;
	if (length < 3 || length > 4 || strspn(text, "01234567") != length)
		return option_refuse(setting, why, why_size,
		    "a mode in octal and in double quotes, such as \"0660\"");
	*(mode_t *)field = (mode_t)strtoul(text, NULL, 8);
	return 0;
}

static void print_mode(const struct option_row *row, const void *field, FILE *out)
{
	(void)row;
	fprintf(out, "\"%04o\"", (unsigned)*(const mode_t *)field);
}

/* Booleans. */

static int parse_bool(const struct option_row *row, const struct config_setting_t *setting,
    void *field, char *why, size_t why_size)
{
	(void)row;
	if (config_setting_type(setting) != CONFIG_TYPE_BOOL)
		return option_refuse(setting, why, why_size, "true or false");
	*(bool *)field = config_setting_get_bool(setting) == CONFIG_TRUE;
	return 0;
}

static void print_bool(const struct option_row *row, const void *field, FILE *out)
{
	(void)row;
	fputs(*(const bool *)field ? "true" : "false", out);
}

/* Choices. */

static void describe_choice(const struct option_row *row, char *to, size_t size)
{
	size_t at = 0;

	for (size_t i = 0; row->choices[i] != NULL && at < size; i++) {
		const char *before = i == 0 ? "" : row->choices[i + 1] == NULL ? " or " : ", ";

		at += (size_t)snprintf(to + at, size - at, "%s\"%s\"", before, row->choices[i]);
	}
}

static int parse_choice(const struct option_row *row, const struct config_setting_t *setting,
    void *field, char *why, size_t why_size)
{
	const char *text = config_setting_get_string(setting);
	const char *near = text == NULL ? NULL : suggest_name(text, row->choices);
	char shape[320];

	for (int i = 0; text != NULL && row->choices[i] != NULL; i++)
		if (strcmp(row->choices[i], text) == 0) {
			*(int *)field = i;
			return 0;
		}
	describe_choice(row, shape, sizeof(shape));
	option_refuse(setting, why, why_size, "%s", shape);
	if (near != NULL)
		snprintf(why + strlen(why), why_size - strlen(why), "; did you mean \"%s\"?", near);
	return -1;
}

static void print_choice(const struct option_row *row, const void *field, FILE *out)
{
	fprintf(out, "\"%s\"", row->choices[*(const int *)field]);
}

/* Strings. */

/* The setting's text, or NULL with `why`. */
static const char *read_string(const struct option_row *row, const struct config_setting_t *setting,
    const char *expected, char *why, size_t why_size)
{
	const char *text = config_setting_get_string(setting);

	if (text == NULL)
		option_refuse(setting, why, why_size, "%s", expected);
	else if (*text == '\0' && !(row->flags & OPTION_EMPTY))
		option_refuse(setting, why, why_size, "%s that is not empty", expected);
	else
		return text;
	return NULL;
}

static int parse_string(const struct option_row *row, const struct config_setting_t *setting,
    void *field, char *why, size_t why_size)
{
	const char *text = read_string(row, setting, "a string", why, why_size);

	if (text == NULL)
		return -1;
	if ((*(char **)field = strdup(text)) == NULL) {
		snprintf(why, why_size, "out of memory");
		return -1;
	}
	return 0;
}

/* One of the choices, or an absolute path. */

static void describe_choice_or_path(const struct option_row *row, char *to, size_t size)
{
	size_t at = 0;

	for (size_t i = 0; row->choices[i] != NULL && at < size; i++)
		at += (size_t)snprintf(
		    to + at, size - at, "%s\"%s\"", i == 0 ? "" : ", ", row->choices[i]);
	if (at < size)
		snprintf(to + at, size - at, " or an absolute path");
}

static int parse_choice_or_path(const struct option_row *row,
    const struct config_setting_t *setting, void *field, char *why, size_t why_size)
{
	const char *text = config_setting_get_string(setting);
	const char *near = text == NULL ? NULL : suggest_name(text, row->choices);
	bool known = text != NULL && *text == '/';
	char shape[320];

	for (size_t i = 0; text != NULL && row->choices[i] != NULL; i++)
		known |= strcmp(row->choices[i], text) == 0;
	if (known)
		return parse_string(row, setting, field, why, why_size);
	describe_choice_or_path(row, shape, sizeof(shape));
	option_refuse(setting, why, why_size, "%s", shape);
	if (near != NULL)
		snprintf(why + strlen(why), why_size - strlen(why), "; did you mean \"%s\"?", near);
	return -1;
}

static void print_quoted(const char *text, FILE *out)
{
	putc('"', out);
	for (; *text != '\0'; text++) {
		unsigned char byte = (unsigned char)*text;

		if (byte == '"' || byte == '\\')
			fprintf(out, "\\%c", byte);
		else if (byte < 0x20 || byte == 0x7f)
			fprintf(out, "\\x%02x", byte);
		else
			putc(byte, out);
	}
	putc('"', out);
}

static void print_string(const struct option_row *row, const void *field, FILE *out)
{
	const char *text = *(char *const *)field;

	(void)row;
	print_quoted(text == NULL ? "" : text, out);
}

static void clear_string(void *field)
{
	char **text = field;

	free(*text);
	*text = NULL;
}

static int add_string(const struct option_row *row, const struct config_setting_t *setting,
    const char *expected, struct strings *strings, char *why, size_t why_size)
{
	const char *text = read_string(row, setting, expected, why, why_size);

	if (text == NULL)
		return -1;
	if (strings_add(strings, text) == -1) {
		snprintf(why, why_size, "out of memory");
		return -1;
	}
	return 0;
}

static int parse_strings(const struct option_row *row, const struct config_setting_t *setting,
    void *field, char *why, size_t why_size)
{
	bool many = config_setting_is_array(setting) || config_setting_is_list(setting);
	int count = many ? config_setting_length(setting) : 1;

	for (int i = 0; i < count; i++) {
		const config_setting_t *item =
		    many ? config_setting_get_elem(setting, (unsigned)i) : setting;
		const char *expected =
		    many ? "an array with each item a string" : "a string or an array of strings";

		if (add_string(row, item, expected, field, why, why_size) == -1) {
			strings_clear(field);
			return -1;
		}
	}
	return 0;
}

static void print_strings(const struct option_row *row, const void *field, FILE *out)
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

static void clear_strings(void *field)
{
	strings_clear(field);
}

const struct option_type option_bool = {
	.name = "true or false",
	.size = sizeof(bool),
	.parse = parse_bool,
	.print = print_bool,
};

const struct option_type option_mode = {
	.name = "mode in octal, as a string",
	.size = sizeof(mode_t),
	.parse = parse_mode,
	.print = print_mode,
};

const struct option_type option_choice = {
	.name = "choice",
	.size = sizeof(int),
	.parse = parse_choice,
	.print = print_choice,
	.describe = describe_choice,
};

const struct option_type option_string = {
	.name = "string",
	.size = sizeof(char *),
	.parse = parse_string,
	.print = print_string,
	.clear = clear_string,
};

const struct option_type option_choice_or_path = {
	.name = "string",
	.size = sizeof(char *),
	.parse = parse_choice_or_path,
	.print = print_string,
	.clear = clear_string,
	.describe = describe_choice_or_path,
};

const struct option_type option_strings = {
	.name = "string or array of strings",
	.size = sizeof(struct strings),
	.parse = parse_strings,
	.print = print_strings,
	.clear = clear_strings,
};
